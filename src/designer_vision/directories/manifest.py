"""_meta.yaml, the file that makes a folder one of ours: written last, with the hashes of the files it names.

A folder being written holds `_unfinished`; a reader refuses it until the manifest is there. Names, types and
`extension` are the classic designer's; hashes stand under `extension.designer_vision`, which a classic reader ignores.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from designer_vision.errors import DesignerError, FailedToWriteOutputsError

MANIFEST = "_meta.yaml"
UNFINISHED = "_unfinished"
OURS = "designer_vision"
FORMAT_VERSION = 1
LOCK_SECONDS = 5
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


@dataclass(frozen=True)
class Manifest:
    """One `_meta.yaml`: the format's name, its other entries (mostly files by role), and our additions."""

    type: str
    files: Mapping[str, str]
    ours: Mapping[str, Any] = field(default_factory=dict)

    def hash_of(self, file_name: str) -> str | None:
        """The recorded hash of a file, or None where the writer (a classic module) recorded none."""
        return dict(self.ours.get("hashes", {})).get(file_name)


def hash_of_bytes(content: bytes) -> str:
    """BLAKE2b-128 of some bytes, in 32 hexadecimal digits: what tells two contents apart everywhere here."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_of_file(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


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
    with _begun(folder, mark) as held:
        try:
            _lock(held, folder)
            clear(folder, (*kept, UNFINISHED))
        except OSError as error:
            raise _not_writable(folder, error) from error
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_FAULTS:
                raise
            raise _not_writable(folder, error) from error
    mark.unlink(missing_ok=True)  # somebody may have removed the folder meanwhile


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
    return FailedToWriteOutputsError(f"the output folder {folder} cannot be written: {error}; see to it and start the job again")


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
    hashes = {name: hash_of_file(folder / name) for name in sorted(hashed)}
    for name in hashes:
        _to_disk(folder / name)
    ours = {"version": FORMAT_VERSION, **manifest.ours, "hashes": hashes}
    content = {"type": manifest.type, "extension": {OURS: ours}, **manifest.files}
    scratch = folder / f"{MANIFEST}.tmp"
    scratch.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
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
    if not path.is_file():
        raise error(f"{folder} has no {MANIFEST}; expected a folder of type {expected_type}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as cause:
        raise error(f"{path} is not readable YAML: {' '.join(str(cause).split())[:200]}") from cause
    if not isinstance(content, dict):
        raise error(f"{path} holds {type(content).__name__}, expected a mapping with a type")
    found = content.get("type")
    if found != expected_type:
        raise error(f"{path} has type {found!r}, expected {expected_type}; are two inputs connected the wrong way round?")
    extension = content.get("extension") or {}
    ours = extension.get(OURS, {}) if isinstance(extension, dict) else {}
    if not isinstance(ours, dict) or not isinstance(ours.get("hashes", {}), dict):
        raise error(f"{path}: extension.{OURS} is not a mapping as this package writes it")
    if ours.get("version", FORMAT_VERSION) != FORMAT_VERSION:
        raise error(f"{path} has format version {ours['version']}, this package reads version {FORMAT_VERSION}")
    files = {key: value for key, value in content.items() if isinstance(value, str) and key != "type"}
    return Manifest(expected_type, files, ours)


def refuse_unfinished(folder: Path, error: type[DesignerError]) -> None:
    """Raise `error` when the folder does not exist or its writer was stopped before the end."""
    if not folder.is_dir():
        raise error(f"{folder} is not a folder")
    if is_unfinished(folder):
        raise error(f"{folder} is unfinished: the job that writes it was stopped; run that step again")


def verified(folder: Path, file_name: str, manifest: Manifest, error: type[DesignerError]) -> Path:
    """The path of a file that the manifest names, its hash checked where one is recorded."""
    path = contained(folder, file_name, error)
    recorded = manifest.hash_of(file_name)
    try:
        found = recorded and hash_of_file(path)
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause
    if found != recorded:
        raise error(f"{path} is not what was written: its hash differs from {MANIFEST}; copy the folder again")
    return path


def read_verified(folder: Path, file_name: str, manifest: Manifest, error: type[DesignerError]) -> bytes:
    """The bytes of a small file that the manifest names, their hash checked where one is recorded."""
    path = verified(folder, file_name, manifest, error)
    try:
        return path.read_bytes()
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause


def contained(folder: Path, name: str, error: type[DesignerError]) -> Path:
    """The path of `name` inside `folder`; absolute names, `..` and links that lead out of it are refused."""
    relative = Path(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        raise error(f"{folder}: the file name {name!r} leads out of the folder")
    path = folder / relative
    if not path.resolve().is_relative_to(_resolved(folder)):
        raise error(f"{path} is a link that leads out of the folder")
    return path


@lru_cache(maxsize=8)
def _resolved(folder: Path) -> Path:
    """Once a folder, not once an image: should a link to it be turned elsewhere meanwhile, its files are refused."""
    return folder.resolve()


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file as UTF-8 text."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
