"""Checkpoints: all that a training needs to go on as if it had never been stopped.

    epoch_2_image_384_1f2e3d4c.pt      a payload: torch.save of the trainer's state, under a name that is never used again
    epoch_2_image_384_1f2e3d4c.json    its manifest, written after it: the payload's hash, what was trained, and how far

No file is renamed or written twice, so that it holds on any disk or mount: a payload that no good manifest names does not
exist. The last two are kept; an older one goes only when the newest was read back.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, cast

import msgspec
import torch

from designer_vision.runtime import files, torch_files
from designer_vision.runtime.console import say
from designer_vision.runtime.description import MOST_JSON, from_json
from designer_vision.runtime.errors import CheckpointError, FailedToWriteOutputsError

VERSION = 4
CHECKPOINT = "checkpoint"
MOST_PAYLOAD = 64 * 2**30
KEPT = 2
STARTS_ALLOWED = 3
SHARE_OF_TIME = 0.02
"""At most this part of a training goes into saving at the ends of epochs."""

State = Mapping[str, Any]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


@dataclass(frozen=True, order=True)
class Position:
    """How far a training is; a later one is greater, whatever the number of processes.

    Attributes:
        epochs: finished.
        images: trained on in the epoch under way.
        validated: batches of its validation.
    """

    epochs: Count = 0
    images: Count = 0
    validated: Count = 0

    def __str__(self) -> str:
        validated = f" and {self.validated} batches of its validation" if self.validated else ""
        return f"{self.images} images of epoch {self.epochs + 1}{validated}"


@dataclass(frozen=True)
class Manifest:
    """The small file that makes a payload a checkpoint.

    Attributes:
        position: how far the training is.
        payload: the name of its file.
        hash: BLAKE2b-128 of the payload.
        configuration: all that decides the training's outcome; a training of another one does not go on from here.
        network: what to build before the weights are loaded.
        made_by: versions and the like: what may differ, but then not every bit is the same.
        version: of this format.
    """

    position: Position
    payload: str
    hash: str
    configuration: Mapping[str, Any]
    network: Mapping[str, Any]
    made_by: Mapping[str, Any]
    version: int = VERSION


class Checkpoints:
    """The checkpoints of one folder.

    Args:
        folder: that may not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> Manifest | None:
        """The latest checkpoint whose payload is what was written; None where no manifest was ever finished.

        Raises:
            CheckpointError: there are some, but none is whole, or it is of another version.
        """
        damaged: list[Path] = []
        for manifest in self.manifests():
            if manifest.version != VERSION:
                raise CheckpointError(
                    f"the checkpoint {self.folder / manifest.payload} has format version {manifest.version}, this package "
                    f"reads {VERSION}; continue with the version that wrote it"
                )
            if _hash_of(self.folder, manifest.payload) == manifest.hash:
                if damaged:
                    say(f"warning: the checkpoint {damaged[0]} is damaged; the one before, after {manifest.position}, is used")
                return manifest
            damaged.append(self.folder / manifest.payload)
        if damaged:
            raise CheckpointError(
                f"the checkpoint {damaged[0]} is damaged and there is no other; remove {self.folder} to start from the beginning"
            )
        return None

    def manifests(self) -> list[Manifest]:
        """All that are whole, the latest first."""
        found = []
        for path in self.folder.glob("*.json"):
            manifest = _read_manifest(path)
            if manifest is None:
                say(f"warning: the checkpoint manifest {path} is incomplete and ignored")
            else:
                found.append(manifest)
        return sorted(found, key=lambda manifest: (manifest.position, manifest.payload), reverse=True)

    def payload(self, manifest: Manifest) -> bytes:
        """The bytes to be given to `state_of`."""
        return files.read(self.folder, manifest.payload, CheckpointError, MOST_PAYLOAD)

    def save(self, state: State, manifest: Manifest) -> None:
        """Write a payload, then its manifest; when both were read back, remove what is not needed any more.

        Args:
            state: what `state_of` will give.
            manifest: without name and hash of the payload.

        Raises:
            OSError: the disk is full, read-only or gone; what was saved before is untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        position = manifest.position
        stem = f"epoch_{position.epochs + 1}_image_{position.images}_{secrets.token_hex(4)}"
        try:
            self._write(self.folder / f"{stem}.pt", state, manifest)
        except OSError:
            for suffix in (".json", ".pt"):  # what is of no use takes no room
                with suppress(OSError):
                    (self.folder / f"{stem}{suffix}").unlink()
            raise
        self._remove_all_but(self.manifests()[:KEPT])

    def _write(self, payload: Path, state: State, manifest: Manifest) -> None:
        with payload.open("xb") as file:
            hashing = _Hashing(file)
            try:
                torch.save(dict(state), cast(IO[bytes], hashing))
            except RuntimeError as error:  # torch's own writer, when the file takes no more
                raise OSError(str(error).splitlines()[0]) from error
            _to_disk(file)
        whole = Manifest(**vars(manifest) | {"payload": payload.name, "hash": hashing.hash})
        with payload.with_suffix(".json").open("xb") as file:
            file.write(_encode(whole))
            _to_disk(file)
        _folder_to_disk(self.folder)
        if _hash_of(payload.parent, payload.name) != whole.hash or _read_manifest(payload.with_suffix(".json")) != whole:
            raise OSError(f"{payload} does not read back as it was written")

    def note_start(self, position: Position) -> None:
        """Note that a training starts here, or goes on from here; `note_end` takes it back when it ends in order.

        Raises:
            CheckpointError: it did so STARTS_ALLOWED times before, and never came to the next save.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        prefix = f"started_{position.epochs}_{position.images}_{position.validated}_"
        earlier = list(self.folder.glob(f"{prefix}*"))
        if len(earlier) >= STARTS_ALLOWED:
            raise CheckpointError(
                f"the training was started {len(earlier)} times after {position} and ended each time before the next checkpoint; "
                f"see the earlier logs for the reason, then remove {self.folder}/started_* to try again"
            )
        self._start = self.folder / f"{prefix}{secrets.token_hex(4)}"
        self._start.touch()

    def note_end(self) -> None:
        """The training ended in order, or with a word."""
        with suppress(OSError):  # a folder that is gone or read-only: what ended the training is told, not this
            self._start.unlink()

    def _remove_all_but(self, kept: list[Manifest]) -> None:
        """Manifests first: one whose payload is gone would look damaged."""
        names = {Path(manifest.payload).stem for manifest in kept}
        for path in sorted(self.folder.iterdir(), key=lambda path: path.suffix != ".json"):
            if path.stem not in names:
                path.unlink()


def state_of(payload: bytes) -> State:
    """What was given to `Checkpoints.save`; nothing in it is executed.

    Raises:
        CheckpointError: it is something else.
    """
    state: State = torch_files.load(
        io.BytesIO(payload), Path(CHECKPOINT), CheckpointError, "start the training from the beginning"
    )
    return state


class Saver:
    """Saves beside the training, from copies, one checkpoint at a time.

    A disk that is full or gone costs a warning and is tried again at the next save. One that does not answer ends the job.

    Args:
        checkpoints: where to.
        template: the manifest's configuration, network and makers.
        every: at most this much work is lost.
        patience: how long a save may take.
    """

    def __init__(self, checkpoints: Checkpoints, template: Manifest, every: timedelta, patience: timedelta) -> None:
        self._checkpoints, self._template = checkpoints, template
        self._every, self._patience = every.total_seconds(), patience.total_seconds()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()
        self._cost = 0.0
        self._error: Exception | None = None

    def is_due(self, epoch_ended: bool) -> bool:
        """Whether to save now: at an epoch's end if that takes little of the time, and before too much work can be lost.

        Raises:
            FailedToWriteOutputsError: the last save hangs.
        """
        since = time.monotonic() - self._started
        if self._thread is not None and self._thread.is_alive():
            if since > self._patience:
                raise self._hanging()
            return False
        return since >= self._every or (epoch_ended and since >= self._cost / SHARE_OF_TIME)

    def save(self, state: State, position: Position) -> None:
        """Start to save; the state must not change any more."""
        self.wait()
        manifest = Manifest(**vars(self._template) | {"position": position})
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._save, args=(state, manifest), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until what was given to `save` is on the disk, or could not be.

        Raises:
            FailedToWriteOutputsError: it hangs.
        """
        if self._thread is not None:
            self._thread.join(self._patience)
            if self._thread.is_alive():
                raise self._hanging()
        if self._error is not None:
            raise self._error

    def _save(self, state: State, manifest: Manifest) -> None:
        try:
            self._checkpoints.save(state, manifest)
        except OSError as error:
            say(
                f"warning: no checkpoint could be saved in {self._checkpoints.folder} ({error.strerror or error}); the training "
                "continues and tries again later"
            )
        except Exception as error:  # noqa: BLE001 (raised where the thread is waited for)
            self._error = error
        self._cost = time.monotonic() - self._started

    def _hanging(self) -> FailedToWriteOutputsError:
        return FailedToWriteOutputsError(
            f"{self._checkpoints.folder} has not answered for {self._patience:.0f} s while a checkpoint was written; "
            "check the storage and start the same job again"
        )


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations, one text a key."""
    keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
    return [f"{key} was {_short(found.get(key))} and is {_short(expected.get(key))}" for key in keys]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.blake2b(digest_size=16)

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    @property
    def hash(self) -> str:
        return self._digest.hexdigest()


def _hash_of(folder: Path, name: str) -> str | None:
    """None where the file cannot be read, or is none of the folder's."""
    with suppress(OSError, CheckpointError), files.opened(folder, name, CheckpointError) as file:
        return files.hash_of_open_file(file)
    return None


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """So that the names survive a power cut too; a mount that knows no such thing does without."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _encode(manifest: Manifest) -> bytes:
    content = json.dumps(asdict(manifest), sort_keys=True)
    return json.dumps({"content": content, "hash": files.hash_of_bytes(content.encode())}).encode()


class _Signed(msgspec.Struct):
    content: str
    hash: str


class _Versioned(msgspec.Struct):
    version: int = VERSION
    position: Position = Position()
    payload: str = ""


def _read_manifest(path: Path) -> Manifest | None:
    """None where the file is not whole."""
    try:
        signed = from_json(files.read(path.parent, path.name, CheckpointError, MOST_JSON), _Signed, path, CheckpointError)
        content = signed.content.encode()
        if signed.hash != files.hash_of_bytes(content):
            return None
        found = from_json(content, _Versioned, path, CheckpointError)
        if found.version != VERSION:  # what else it holds is not known; `newest` refuses it
            return Manifest(found.position, found.payload, "", {}, {}, {}, found.version)
        return from_json(content, Manifest, path, CheckpointError)
    except (CheckpointError, UnicodeEncodeError):
        return None
