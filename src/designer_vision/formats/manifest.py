"""_meta.yaml, the file that makes a folder one of ours: written last, with the hashes of the files it names.

A folder being written holds `_unfinished`; a reader refuses it until the manifest is there. Names, types and
`extension` are the classic designer's; hashes stand under `extension.designer_vision`, which a classic reader ignores.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from designer_vision.formats.left_out import LeftOut
from designer_vision.runtime import files
from designer_vision.runtime.description import MOST_YAML, from_yaml, to_json, to_yaml
from designer_vision.runtime.errors import DesignerError, FailedToWriteOutputsError
from designer_vision.runtime.values import MAX_SIDE

MANIFEST = "_meta.yaml"
UNFINISHED = "_unfinished"
OURS = "designer_vision"
FORMAT_VERSION = 1
LOCK_SECONDS, MOST_TRIES = 5, 20
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


Operations = list[Annotated[list[Any], msgspec.Meta(min_length=2, max_length=2)]]
"""Image operations as `[name, argument]`; which names and arguments make sense, `transforms.check` says."""
Side = Annotated[int, msgspec.Meta(gt=0, le=MAX_SIDE)]
Temperature = Annotated[float, msgspec.Meta(ge=0.001, le=1000)]
Weighting = Literal["none", "square_root", "full"]
"""How much the images of a small class count in a training; `class_weights` of components/training_task.py says."""


class Extension(msgspec.Struct, omit_defaults=True, frozen=True):
    """What we add to a classic manifest.

    Attributes:
        version: of this record.
        hashes: of the folder's files, by name.
        transformation: the deterministic operations that images went through, or that a network's images go through.
        random_operations: what is redrawn every epoch.
        size: height and width of a network's input.
        temperature: that a network's logits are divided by; none where that is 1.
        training: parameters and results of a training, for people.
        configuration: what the training was started with.
        weighting: how much images of small classes count in a training.
        left_out: what lay in the folder that images were converted from and was not used, by kind and folder.
    """

    version: int = FORMAT_VERSION
    hashes: dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]] = {}
    transformation: Operations = []
    random_operations: Operations = []
    size: tuple[Side, Side] | None = None
    temperature: Temperature | None = None
    training: dict[str, Any] = {}
    configuration: dict[str, Any] = {}
    weighting: Weighting = "none"
    left_out: LeftOut = {}


class Manifest(msgspec.Struct, omit_defaults=True, frozen=True):
    """One `_meta.yaml`: the format's name, our additions, and the names of the other files; the rest plays no part."""

    type: str
    ours: Extension = Extension()
    image_list: str | None = None
    model: str | None = None
    transform_type: str | None = None
    format: str | None = None
    data: str | None = None
    samples: str | None = None
    schema: str | None = None

    def hash_of(self, file_name: str) -> str | None:
        """The recorded hash of a file, or None where the writer (a classic module) recorded none."""
        return self.ours.hashes.get(file_name)


@contextmanager
def publishing(folder: Path, kept: Sequence[str] = ()) -> Iterator[None]:
    """Mark `folder` unfinished while its files are written.

    What an earlier, unfinished attempt left there is removed first. The mark goes away only when the block ends
    without an exception, so that whoever reads the folder meanwhile, or after a crash, is told. A disk that fails or is full in
    the block is told as the output's fault.

    Args:
        folder: empty, new, or one that an earlier attempt did not finish.
        kept: what that attempt left and this one needs.

    Raises:
        FailedToWriteOutputsError: the folder cannot be written, holds something that is not an unfinished output, or another
            process is writing to it.
    """
    mark = folder / UNFINISHED
    with _held(folder, mark):
        try:
            clear(folder, (*kept, UNFINISHED))
        except OSError as error:
            raise _not_writable(folder, error) from error
        try:
            yield
        except OSError as error:
            elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(folder)
            if error.errno not in DISK_FAULTS or elsewhere:
                raise
            raise _not_writable(folder, error) from error
        mark.unlink(missing_ok=True)  # somebody may have removed the folder meanwhile


def _held(folder: Path, mark: Path) -> BinaryIO:
    """The mark of an output folder, locked. What another job did to the folder before it gave the lock away is seen."""
    for _ in range(MOST_TRIES):
        held = _begun(folder, mark)
        try:
            _lock(held, folder)
            if os.path.samestat(os.fstat(held.fileno()), mark.stat()):
                return held
        except FileNotFoundError:  # that job has finished
            pass
        except OSError as error:
            raise _not_writable(folder, error) from error
        held.close()
    raise FailedToWriteOutputsError(
        f"the output folder {folder} cannot be locked: its mount reports a different {mark.name} each time; give another folder"
    )


def _begun(folder: Path, mark: Path) -> BinaryIO:
    """The mark of an output folder that is empty, new or unfinished, opened."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            if any(folder.iterdir()):
                raise FailedToWriteOutputsError(
                    f"the output folder {folder} is not empty; give an empty or new folder, nothing in it is overwritten"
                )
            mark.write_text("This folder is being written, or its job was stopped.\n")
        elif not os.access(folder, os.W_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return mark.open("rb")
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> FailedToWriteOutputsError:
    return FailedToWriteOutputsError(
        f"the output folder {folder} cannot be written: {error}; check that disk and run the job again"
    )


def _lock(mark: BinaryIO, folder: Path) -> None:
    """Hold the folder for this process, until the mark is closed or the process ends, where the mount knows locks.

    The processes of a job that was killed a moment ago hold it until they are gone.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise FailedToWriteOutputsError(
                    f"another job is writing to {folder}; give each job an output of its own"
                ) from error
            time.sleep(0.1)
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.ENOSYS, errno.EBADF):
                raise
        return


def clear(folder: Path, kept: Sequence[str] = ()) -> None:
    """Remove everything in a folder but the entries `kept`."""
    for entry in folder.iterdir():
        if entry.name not in kept:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def is_unfinished(folder: Path) -> bool:
    """Whether the folder's writer was stopped, or is at work."""
    return (folder / UNFINISHED).exists() and not (folder / MANIFEST).exists()


def write_manifest(folder: Path, manifest: Manifest, hashed: Iterable[str]) -> None:
    """Write `_meta.yaml` with the hashes of the files `hashed`. Call it last: it is what makes the folder complete.

    All of them are on the disk before it: a manifest that survives a power cut names nothing that did not.
    """
    hashes = {name: files.hash_of_file(folder / name) for name in sorted(hashed)}
    for name in hashes:
        _to_disk(folder / name)
    ours = {"version": FORMAT_VERSION, **msgspec.to_builtins(manifest.ours), "hashes": hashes}
    entries = msgspec.to_builtins(manifest)
    content = {"type": manifest.type, "extension": {OURS: ours}} | {name: entries[name] for name in entries if name != "ours"}
    scratch = folder / f"{MANIFEST}.tmp"
    scratch.write_text(to_yaml(content), encoding="utf-8")
    _to_disk(scratch)
    scratch.replace(folder / MANIFEST)  # half a manifest could pass for a whole one


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_manifest(folder: Path, expected_type: str, error: type[DesignerError]) -> Manifest:
    """Read and check a folder's `_meta.yaml`.

    Args:
        folder: the folder that a port was connected to.
        expected_type: `ImageDirectory`, `ModelDirectory`, `TransformationDirectory` or `DataFrameDirectory`.
        error: raised, with the path and what to do, when the folder is not a finished one of that type.
    """
    refuse_unfinished(folder, error)
    path = folder / MANIFEST
    if not path.exists():
        raise error(f"{folder} has no {MANIFEST}; expected a folder of type {expected_type}")
    content = from_yaml(files.read(folder, MANIFEST, error, MOST_YAML), dict[str, Any], path, error)
    found = content.pop("type", None)
    if found != expected_type:
        raise error(f"{path} has type {str(found)[:100]!r}, expected {expected_type}; {_swapped(found)}")
    extension = content.pop("extension", None) or {}
    ours = extension.get(OURS, {}) if isinstance(extension, dict) else {}
    version = ours.get("version", FORMAT_VERSION) if isinstance(ours, dict) else FORMAT_VERSION
    if version != FORMAT_VERSION:
        raise error(f"{path} has format version {str(version)[:100]}, this package reads version {FORMAT_VERSION}; update it")
    try:
        return msgspec.convert(content | {"type": expected_type, "ours": ours}, Manifest)
    except msgspec.ValidationError as cause:
        raise error(f"{path}: {cause}; expected what a component writes") from cause


def read_type(folder: Path, error: type[DesignerError]) -> tuple[str, bool]:
    """The type that a folder's `_meta.yaml` names, and whether this package wrote it; `read_manifest` checks the rest."""
    content = from_yaml(files.read(folder, MANIFEST, error, MOST_YAML), dict[str, Any], folder / MANIFEST, error)
    extension = content.get("extension")
    return str(content.get("type")), isinstance(extension, dict) and OURS in extension


def _swapped(found: object) -> str:
    kinds = {"ImageDirectory": "images", "ModelDirectory": "a model", "TransformationDirectory": "a transformation"}
    kinds["DataFrameDirectory"] = "a scored set"
    if str(found) in kinds:
        return f"it looks like {kinds[str(found)]}: are two inputs connected the wrong way round?"
    return "connect the output of a component"


def refuse_unfinished(folder: Path, error: type[DesignerError]) -> None:
    """Raise `error` when the folder does not exist or its writer was stopped before the end."""
    if not folder.is_dir():
        raise error(f"{folder} is not a folder")
    if is_unfinished(folder):
        raise error(f"{folder} is unfinished: the job that writes it was stopped; run that step again")


def verified(folder: Path, file_name: str, manifest: Manifest, error: type[DesignerError]) -> Path:
    """The path of a file that the manifest names, its hash checked where one is recorded."""
    path = files.contained(folder, file_name, error)
    with files.opened(folder, file_name, error) as file:
        recorded = manifest.hash_of(file_name)
        try:
            found = recorded and files.hash_of_open_file(file)
        except OSError as cause:
            raise error(f"{path} cannot be read: {cause.strerror}") from cause
    if found != recorded:
        raise error(f"{path} is not what was written: its hash differs from {MANIFEST}; copy the folder again")
    return path


def read_verified(folder: Path, file_name: str, manifest: Manifest, error: type[DesignerError], most: int) -> bytes:
    """The bytes of a file that the manifest names, at most so many, their hash checked where one is recorded."""
    content = files.read(folder, file_name, error, most)
    if manifest.hash_of(file_name) not in (None, files.hash_of_bytes(content)):
        raise error(f"{folder / file_name} is not what was written: its hash differs from {MANIFEST}; copy the folder again")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file as UTF-8 text."""
    path.write_text(to_json(content), encoding="utf-8")
