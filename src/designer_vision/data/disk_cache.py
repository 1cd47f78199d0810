"""Files that came from far, kept on this machine's disk until the training ends; all processes of the machine share them."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from designer_vision.runtime.files import hash_of_bytes
from designer_vision.runtime.machine import file_system_of, is_far

SHARE_OF_DISK = 0.5
"""Of what is free in the temporary folder."""
IN_MEMORY = ("tmpfs", "ramfs")
ROW = struct.Struct("<qq16s")
"""Of each image: where its content begins, its bytes and its hash."""
HEAD = 8
"""Bytes, before the rows: where the next content begins."""


def free_disk(forced: int | None = None) -> int:
    """Bytes that the temporary folder has for such files; 0 where it is no disk of this machine.

    Args:
        forced: the operator's number.
    """
    try:
        folder = Path(tempfile.gettempdir())
        free = shutil.disk_usage(folder).free
    except OSError:  # there is none that can be written to
        return 0
    if forced is None and (is_far(folder) or file_system_of(folder) in IN_MEMORY):
        return 0
    return int(free * SHARE_OF_DISK) if forced is None else min(forced, free)


@contextmanager
def shared_disk_cache(images: int, budget: int, is_first: bool, tell: Callable[[str], str]) -> Iterator[DiskCache | None]:
    """A cache on disk for the files of some images; None where there is no room, or this system cannot share it.

    Its file has no name: the system removes it when the last process has ended, however that happens.

    Args:
        images: how many there are.
        budget: in bytes; what the first process of this machine says counts.
        is_first: whether this is that process; it makes the file.
        tell: gives every process of the machine what the first one puts in.
    """
    with ExitStack() as stack:
        said = ""
        if is_first and budget > 0:
            with suppress(OSError):
                file = stack.enter_context(tempfile.TemporaryFile())
                start = HEAD + ROW.size * images
                file.truncate(start)
                os.pwrite(file.fileno(), start.to_bytes(HEAD, "little"), 0)
                said = f"{budget} /proc/{os.getpid()}/fd/{file.fileno()}"
        told_budget, _, path = tell(said).partition(" ")
        cache = None
        if path:
            with suppress(OSError):  # a process that may not look into the first one's files reads from far
                cache = DiskCache(Path(path), images, int(told_budget))
        yield cache


class DiskCache:
    """Contents by number, written by whichever process reads a file first and read by all.

    A content that is not what was written, by its hash, counts as absent: half a row or half a content is never handed over.

    Args:
        path: of the file: where the next content begins, a row of zeros for each image, and then the contents.
        images: how many.
        budget: bytes of contents.
    """

    def __init__(self, path: Path, images: int, budget: int) -> None:
        self._path, self._images, self._budget = path, images, budget
        self._opened = path.open("r+b", buffering=0)
        self._file = self._opened.fileno()
        self._first = HEAD + ROW.size * images
        self._lock = threading.Lock()
        self._is_full = False

    def __reduce__(self) -> tuple[type[DiskCache], tuple[Path, int, int]]:
        return DiskCache, (self._path, self._images, self._budget)

    def get(self, index: int) -> bytes | None:
        """What was put; None if it was not, or is damaged."""
        try:
            start, length, digest = ROW.unpack(os.pread(self._file, ROW.size, HEAD + ROW.size * index))
            if not 0 < length <= self._budget:
                return None
            content = os.pread(self._file, length, start)
        except (OSError, struct.error):
            return None
        return content if bytes.fromhex(hash_of_bytes(content)) == digest else None

    def put(self, index: int, content: bytes) -> None:
        """Keep a content while there is room; a disk that is full or failing keeps no more."""
        if self._is_full or not content:
            return
        try:
            start = self._take_room(len(content))
            if start is None or os.pwrite(self._file, content, start) < len(content):
                self._is_full = True
                return
            row = ROW.pack(start, len(content), bytes.fromhex(hash_of_bytes(content)))
            os.pwrite(self._file, row, HEAD + ROW.size * index)
        except OSError:
            self._is_full = True

    def _take_room(self, length: int) -> int | None:
        """Where a content of that length goes, for this process alone; None where the budget is used up."""
        with self._lock:  # of the threads; the file's is of the processes
            fcntl.lockf(self._file, fcntl.LOCK_EX, HEAD)
            try:
                start = int.from_bytes(os.pread(self._file, HEAD, 0), "little")
                if start + length - self._first > self._budget:
                    return None
                os.pwrite(self._file, (start + length).to_bytes(HEAD, "little"), 0)
                return start
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, HEAD)
