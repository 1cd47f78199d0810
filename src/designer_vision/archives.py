"""Unpacking .zip, .tar, .gz and .bz2: regular files only, inside one folder, within limits counted on real bytes."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from designer_vision.errors import InvalidZipFileError

SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2")
MAX_RATIO = 200
"""Unpacked bytes for each packed one; photos hardly compress, so more is a bomb."""
MIN_ALLOWED = 256 * 2**20
MAX_FILES = 20_000_000
CHUNK = 2**20


def is_archive(path: Path) -> bool:
    """Whether the file's name ends like an archive's."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, recognised by its content, into a folder; directories, links and devices are not made.

    Raises:
        InvalidZipFileError: it is no such archive, is cut short, names a file twice or outside the folder, or grows
            beyond MAX_RATIO times its size.
    """
    budget = _Budget(archive)
    with _refused(archive):
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, budget)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder, budget)
        else:
            raise InvalidZipFileError(f"{archive} is not a .zip, .tar, .tar.gz or .tar.bz2 archive; pack the folder again")


def _unpack_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            if entry.is_dir():
                continue
            if entry.flag_bits & 0x1:
                raise InvalidZipFileError(f"{archive}: {entry.filename!r} is encrypted; pack the folder without a password")
            with packed.open(entry) as source:
                _write(source, entry.filename, folder, budget)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isdir():
                continue
            if not member.isreg():
                raise InvalidZipFileError(f"{archive}: {member.name!r} is a link or a device; only plain files are unpacked")
            source = packed.extractfile(member)
            assert source is not None
            with source:
                _write(source, member.name, folder, budget)


def _write(source: IO[bytes], name: str, folder: Path, budget: _Budget) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or not relative.parts:
        raise InvalidZipFileError(f"{budget.archive}: the name {name!r} leads out of the folder")
    if relative.parts[0] == "__MACOSX" or relative.name.startswith("._"):
        return
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as target:
            while chunk := source.read(CHUNK):
                budget.spend(len(chunk))
                target.write(chunk)
    except FileExistsError:
        raise InvalidZipFileError(f"{budget.archive}: {name!r} is there twice") from None
    budget.count_file()


class _Budget:
    """How much an archive may still grow."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._allowed = max(MIN_ALLOWED, MAX_RATIO * archive.stat().st_size)
        self._left, self._files = self._allowed, 0

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InvalidZipFileError(
                f"{self.archive} unpacks to more than {self._allowed // 2**20} MB; it is not an archive of photos"
            )

    def count_file(self) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            raise InvalidZipFileError(f"{self.archive} has more than {MAX_FILES} files")


@contextmanager
def _refused(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        OSError,
        NotImplementedError,
        ValueError,
    ) as error:
        raise InvalidZipFileError(f"{archive} cannot be unpacked: {error}; pack the folder again") from error
