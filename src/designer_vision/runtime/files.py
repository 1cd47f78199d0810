"""Files of a folder that may come from a stranger: regular ones, inside that folder, no longer than expected."""

from __future__ import annotations

import codecs
import ctypes
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from designer_vision.runtime.errors import DesignerError, FileSystemError
from designer_vision.runtime.machine import C_LIBRARY

PASSING = {errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET, errno.EBUSY}
GONE = {errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET}
"""Not the file's fault: no other file of the mount can be read either."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds before each further try."""
OPENING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A pipe that nobody writes to must not stop us before we see that it is one."""
SYSTEM_CALL: Any = C_LIBRARY.syscall if C_LIBRARY is not None else None
SYS_OPENAT2 = 437
"""Of Linux 5.6, the same on every processor."""
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}


def at_home(path: Path | str) -> Path:
    """A path as a person writes it, with `~` for a home folder; as it stands where this machine has nobody of that name."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's own raises there)


def contained(folder: Path, name: str, error: type[DesignerError]) -> Path:
    """The path of `name` inside `folder`; absolute names, `..` and links that lead out of it are refused."""
    _resolved_inside(folder, _relative(folder, name, error), error)
    return folder / name


def opened(folder: Path, name: str, error: type[DesignerError]) -> BinaryIO:
    """A regular file inside the folder, to be read; what may be a passing fault of a disk or a mount is tried again.

    Raises:
        DesignerError: of the class `error`: the name points outside the folder, or is no regular file that can be read.
        FileSystemError: its mount is gone.
    """
    return os.fdopen(_open_regular(folder, name, error)[0], "rb")


def read(folder: Path, name: str, error: type[DesignerError], most: int, reserve: Callable[[int], object] | None = None) -> bytes:
    """The bytes of a regular file inside the folder.

    Args:
        folder: that the name is relative to.
        name: of the file.
        error: raised where the file cannot be read, points outside the folder, or is longer than expected.
        most: bytes that are read.
        reserve: told how many bytes there are, before they are read.

    Raises:
        DesignerError: of the class `error`.
        FileSystemError: its mount is gone.
    """
    for pause in (*PAUSES, None):
        descriptor, size = _open_regular(folder, name, error)
        try:
            if size > most:
                raise error(f"{folder / name} has {size:,} bytes, more than the {most:,} that such a file may have")
            if reserve is not None:
                reserve(size)
            return _read_all(descriptor, size, most)
        except OSError as cause:
            if pause is None or cause.errno not in PASSING:
                raise _unreadable(folder / name, cause, error) from cause
        finally:
            os.close(descriptor)
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _read_all(descriptor: int, size: int, most: int) -> bytes:
    """What an opened file holds, with one call where that is what its size says; some mounts say too little."""
    content = os.read(descriptor, size + 1)
    while len(content) != size and len(content) < most and (more := os.read(descriptor, max(size, 2**16))):
        content += more
    return content


def lines(
    folder: Path, name: str, error: type[DesignerError], *, longest: int, most: int | None = None, blank: bool = False
) -> Iterator[tuple[int, bytes]]:
    """The lines of a regular file inside the folder, each with its number, counted from 1.

    Args:
        folder: that the name is relative to.
        name: of the file.
        error: raised where the file cannot be read, points outside the folder, or it or a line is longer than expected.
        longest: bytes of a line, with its end.
        most: bytes of the file; None for as many as it has.
        blank: whether blank lines are given too.
    """
    with opened(folder, name, error) as file:
        if most is not None and (size := os.fstat(file.fileno()).st_size) > most:
            raise error(f"{folder / name} has {size:,} bytes, more than the {most:,} that such a file may have")
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise error(f"{folder / name} line {number} is longer than {longest:,} bytes, expected one image per line")
            if blank or line.removeprefix(codecs.BOM_UTF8).strip():
                yield number, line


def hash_of_bytes(content: bytes) -> str:
    """BLAKE2b-128 of some bytes, in 32 hexadecimal digits: what tells two contents apart everywhere here."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def hash_of_file(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hash_of_open_file(file)


def hash_of_open_file(file: BinaryIO) -> str:
    """BLAKE2b-128 of an opened file's bytes, in 32 hexadecimal digits."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def _unreadable(path: Path, cause: OSError, error: type[DesignerError]) -> DesignerError:
    if cause.errno in (errno.ENOENT, errno.ENOTDIR):
        return error(f"{path} is missing; copy the folder again")
    if cause.errno in GONE:
        return FileSystemError(f"{path} cannot be read: {cause.strerror}; mount its folder again and run the same command again")
    return error(f"{path} cannot be read: {cause.strerror}; copy the folder again")


def _open_regular(folder: Path, name: str, error: type[DesignerError]) -> tuple[int, int]:
    """A descriptor of a regular file inside the folder, and its size in bytes."""
    relative = _relative(folder, name, error)
    for pause in (*PAUSES, None):
        try:
            found = _open_beneath(folder, relative)
            descriptor = os.open(_resolved_inside(folder, relative, error), OPENING) if found is None else found
            break
        except OSError as cause:
            if pause is None or cause.errno not in PASSING:
                raise _unreadable(folder / name, cause, error) from cause
            time.sleep(pause)
    status = os.fstat(descriptor)
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise error(f"{folder / name} is {KINDS.get(kind, 'a device')}, expected a plain file")
    return descriptor, status.st_size


class _How(ctypes.Structure):
    """Linux's open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


HOW = _How(OPENING, 0, 0x08 | 0x04 | 0x02)
"""Beneath the folder, through no link of any kind (RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS)."""


def _open_beneath(folder: Path, relative: Path) -> int | None:
    """A file opened without a link on its way: the kernel checks that in the one walk that it makes anyway.

    On a mount each step of a path can be a round trip, and to resolve a path in Python asks for every one of them.

    Returns:
        A descriptor; None where the slow way must tell what is wrong, where there is a link, or where the kernel is older.

    Raises:
        OSError: what may pass.
    """
    if SYSTEM_CALL is None:
        return None
    try:
        path = os.fsencode(relative)
        place = os.open(_resolved(folder), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _openat2(place, path)
        finally:
            os.close(place)
    except OSError as cause:
        if cause.errno in PASSING:
            raise
    except (UnicodeEncodeError, RuntimeError):  # no name at all; links in a circle
        pass
    return None


def _openat2(place: int, path: bytes) -> int:
    descriptor = int(SYSTEM_CALL(SYS_OPENAT2, place, path, ctypes.byref(HOW), ctypes.sizeof(HOW)))
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor


def _relative(folder: Path, name: str, error: type[DesignerError]) -> Path:
    relative = Path(name)
    if not relative.parts or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        raise error(f"{folder}: {name[:200]!r} is not the name of a file inside the folder")
    return relative


def _resolved_inside(folder: Path, relative: Path, error: type[DesignerError]) -> Path:
    try:
        path = (folder / relative).resolve()
    except (OSError, RuntimeError, UnicodeEncodeError) as cause:  # too long, links in a circle, no name at all
        raise error(f"{folder}: {str(relative)[:200]!r} cannot be a file: {cause}") from cause
    if not path.is_relative_to(_resolved(folder)):
        raise error(f"{folder / relative} is a link that points outside the folder")
    return path


@lru_cache(maxsize=8)
def _resolved(folder: Path) -> Path:
    """Once a folder, not once an image: should a link to it be turned elsewhere meanwhile, nothing is read from there."""
    return folder.resolve()
