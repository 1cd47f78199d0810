"""Unpacking .zip, .tar, .gz and .bz2: regular files only, inside one folder, within limits counted on real bytes."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import cast

from designer_vision.runtime.errors import FileSystemError, InvalidZipFileError

MAX_RATIO = 200
"""Unpacked bytes for each packed one; photos hardly compress, so more is a bomb."""
MIN_ALLOWED = 256 * 2**20
MAX_FILES = 5_000_000
MAX_EMPTY = 50_000
"""Files without content; a zip's are known before it is read."""
LEAST_ENTRY = 128
"""Bytes that an entry of a zip takes with a short name and the smallest picture; without content it takes about 100."""
CHUNK = 2**20
DEEPEST = 100
MOST_HEADERS = 100
LONGEST_HEADER = 2**20
"""Of a tar's member, in bytes: names of any length that a disk takes fit."""
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
OTHER_KINDS = {b"7z\xbc\xaf": "a .7z", b"Rar!": "a .rar", b"\xfd7zXZ": "an .xz", b"\x28\xb5\x2f\xfd": "a .zst"}
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE}


class Budget:
    """How much some archives, and those packed in them, may still grow.

    Args:
        archives: the outermost ones.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self._allowed = max(MIN_ALLOWED, MAX_RATIO * sum(archive.stat().st_size for archive in archives))
        self._left, self._files, self._empty = self._allowed, 0, 0

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InvalidZipFileError(f"it unpacks to more than {self._allowed // 2**20} MB, so it holds no photos")

    def count_file(self) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            raise InvalidZipFileError(f"it has more than {MAX_FILES:,} files")

    def count_empty(self) -> None:
        self._empty += 1
        if self._empty > MAX_EMPTY:
            raise InvalidZipFileError(
                f"it has more than {MAX_EMPTY:,} empty files and folders, so it is not an archive of photos"
            )


def unpack(archive: Path, folder: Path, budget: Budget) -> int:
    """Unpack an archive, recognised by its content, into a folder; directories, links and devices are not made.

    Returns:
        How many files were passed over that macOS adds by itself.

    Raises:
        InvalidZipFileError: it is no such archive, is cut short, names a file twice or outside the folder, or grows
            beyond the budget.
        FileSystemError: the folder cannot be written.
    """
    with _refused(archive), archive.open("rb") as file:
        folder.mkdir(parents=True, exist_ok=True)
        start = file.read(512)
        file.seek(0)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as inner:
                hidden = _unpack_tar(_Counted(inner, budget), folder, budget)
        elif start.startswith(b"BZh"):
            with bz2.open(file) as inner:
                hidden = _unpack_tar(_Counted(inner, budget), folder, budget)
        elif start[257:262] == b"ustar" or not zipfile.is_zipfile(file):
            file.seek(0)
            kind = next((kind for begin, kind in OTHER_KINDS.items() if start.startswith(begin)), None)
            if kind:
                raise InvalidZipFileError(f"it is {kind} archive, expected .zip, .tar, .tar.gz or .tar.bz2")
            hidden = _unpack_tar(_Counted(file, budget), folder, budget)
        else:
            hidden = _unpack_zip(file, folder, budget)
        if not any(folder.iterdir()):
            raise InvalidZipFileError("it holds no files")
        return hidden


def _unpack_zip(file: io.BufferedIOBase, folder: Path, budget: Budget) -> int:
    _check_entries(file)
    hidden = 0
    with zipfile.ZipFile(file) as packed:
        for entry in packed.infolist():
            if not entry.file_size and not entry.is_dir():
                budget.count_empty()
        for entry in packed.infolist():
            if entry.is_dir():
                budget.count_file()
                continue
            if entry.flag_bits & 0x1:
                raise InvalidZipFileError(f"{entry.filename!r} is encrypted; pack it without a password")
            if entry.compress_type not in ZIP_METHODS:
                method = zipfile.compressor_names.get(entry.compress_type, str(entry.compress_type))  # type: ignore[attr-defined]
                raise InvalidZipFileError(f"{entry.filename!r} is packed by the method {method}, expected deflate")
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise InvalidZipFileError(f"{entry.filename!r} is a link or a device; only plain files are unpacked")
            with packed.open(entry) as source:
                hidden += not _write(_Counted(cast(io.BufferedIOBase, source), budget), entry.filename, folder, budget)
    return hidden


def _check_entries(file: io.BufferedIOBase) -> None:
    """Refuse a zip of very many empty entries before its directory is read, which would take gigabytes.

    Their number and the size of the directory stand at the end of the file (APPNOTE.TXT, 4.3.14 to 4.3.16). zipfile goes by the
    size, of which an entry takes 46 bytes and its name.
    """
    ending: list[int] | None = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    size = file.seek(0, io.SEEK_END)
    entries = max(ending[zipfile._ECD_ENTRIES_TOTAL], ending[zipfile._ECD_SIZE] // 100) if ending else 0  # type: ignore[attr-defined]
    if entries > MAX_FILES or (entries > MAX_EMPTY and size < entries * LEAST_ENTRY):
        raise InvalidZipFileError(f"it has {entries:,} files and folders in {size:,} bytes, so it holds no photos")


def _unpack_tar(file: _Counted, folder: Path, budget: Budget) -> int:
    hidden = 0
    with tarfile.open(fileobj=file, mode="r:") as packed:  # type: ignore[call-overload]
        while (member := packed.next()) is not None:
            packed.members.clear()  # a million of them would be a gigabyte
            if len(packed.pax_headers) > MOST_HEADERS:
                raise InvalidZipFileError(f"it has {len(packed.pax_headers):,} global headers")
            if member.isdir():
                budget.count_file()
                continue
            if not member.size:
                budget.count_empty()
            if not member.isreg() or member.issparse():
                raise InvalidZipFileError(f"{member.name!r} is a link, a device or sparse; only plain files are unpacked")
            source = packed.extractfile(member)
            assert source is not None
            with source:
                hidden += not _write(source, member.name, folder, budget)
    return hidden


def _write(source: io.BufferedIOBase | _Counted, name: str, folder: Path, budget: Budget) -> bool:
    """Write a file; False where it is one that macOS adds by itself, and nothing is written."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or ":" in name[:2] or not relative.parts:
        raise InvalidZipFileError(f"the name {name[:200]!r} points outside the folder")
    if len(relative.parts) > DEEPEST:
        raise InvalidZipFileError(f"{name[:100]!r}… is more than {DEEPEST} folders deep")
    budget.count_file()
    if relative.parts[0] == "__MACOSX" or relative.name.startswith("._"):
        return False
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)
    except FileExistsError:
        raise InvalidZipFileError(f"{name!r} appears twice") from None
    return True


class _Counted:
    """A file whose bytes, read or passed over, are taken from a budget, and never many at once."""

    def __init__(self, file: io.BufferedIOBase, budget: Budget) -> None:
        self._file, self._budget, self._farthest = file, budget, 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(LONGEST_HEADER, CHUNK):
            raise InvalidZipFileError(f"it has a header of {size:,} bytes")
        content = self._file.read(size)
        self._count(self._file.tell())
        return content

    def seek(self, position: int) -> int:
        while self._farthest < position and self.read(min(CHUNK, position - self._file.tell())):
            pass  # what is passed over is unpacked, too
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def _count(self, position: int) -> None:
        self._budget.spend(max(0, position - self._farthest))
        self._farthest = max(self._farthest, position)


@contextmanager
def _refused(archive: Path) -> Iterator[None]:
    try:
        yield
    except InvalidZipFileError as error:
        raise InvalidZipFileError(f"{archive}: {error.message}; pack the folder of images again") from error
    except MemoryError:
        raise
    except Exception as error:  # the standard library's readers raise whatever damaged headers lead them into
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise FileSystemError(f"{archive} cannot be unpacked: {error}; TMPDIR names the folder for it") from error
        raise InvalidZipFileError(
            f"{archive} cannot be unpacked: {error or type(error).__name__}; pack the folder again"
        ) from error
