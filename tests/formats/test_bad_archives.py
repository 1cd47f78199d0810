"""Archives that are broken or hostile: nothing is written outside the folder, and nothing without end."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from designer_vision.formats import archives
from designer_vision.runtime.errors import FileSystemError, InvalidZipFileError


def zip_of(*entries: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return buffer.getvalue()


def tar_of(*entries: tuple[str | tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:
        for entry, content in entries:
            member = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def unpacked(folder: Path, content: bytes, name: str = "photos.zip") -> dict[str, bytes]:
    """What an archive leaves in an inner folder; the outer one is looked at, too."""
    (folder / name).write_bytes(content)
    inner = folder / "deep" / "in" / "side"
    archives.unpack(folder / name, inner, archives.Budget([folder / name]))
    return {str(path.relative_to(inner)): path.read_bytes() for path in inner.rglob("*") if path.is_file()}


def refused(folder: Path, content: bytes, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidZipFileError, match=message) as caught:
        unpacked(folder, content)
    assert time.monotonic() - begin < 10
    assert str(folder / "photos.zip") in caught.value.message
    outside = [path for path in folder.rglob("*") if path.is_file() and "side" not in path.parts]
    assert outside == [folder / "photos.zip"]


OUTSIDE = ["../../x", "/x", "a/../../../../x", "C:/x", "a\\b", "..\\x", "C:x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_case_114_115_116_names_that_lead_out_are_refused(tmp_path: Path, name: str, pack) -> None:
    refused(tmp_path, pack(("good/1.png", b"1"), (name, b"2")), "points outside the folder")


def special(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("odd")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_case_118_links_devices_pipes_and_sparse_files_are_refused(tmp_path: Path, kind: bytes) -> None:
    refused(tmp_path, tar_of((special(kind), b"")), "a link, a device or sparse")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_case_118_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("odd")
    entry.external_attr = (kind | 0o777) << 16
    refused(tmp_path, zip_of((entry, b"/etc/passwd")), "a link or a device")


def test_case_119_permissions_owners_and_times_are_not_taken_over(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.png")
    member.mode, member.uid, member.mtime = 0o4777, 0, 2**33
    unpacked(tmp_path, tar_of((member, b"1")))
    status = (tmp_path / "deep/in/side/a.png").stat()
    assert status.st_mode & 0o7111 == 0
    assert abs(status.st_mtime - time.time()) < 100


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MIN_ALLOWED", 2**21)


@pytest.mark.usefixtures("small_budget")
def test_case_120_bombs_are_stopped_on_their_real_bytes(tmp_path: Path) -> None:
    zeros = bytes(30 * 2**20)
    for content in (
        zip_of(("a", zeros)),
        gzip.compress(tar_of(("a", zeros))),
        bz2.compress(tar_of(("a", zeros))),
        gzip.compress(tar_of(("__MACOSX/a", zeros), ("b", b"1"))),  # passed over, but unpacked all the same
    ):
        folder = tmp_path / str(zlib.crc32(content))
        folder.mkdir()
        refused(folder, content, "unpacks to more than|cannot be unpacked")
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2**24


@pytest.mark.usefixtures("small_budget")
def test_case_120_entries_that_overlap_are_stopped(tmp_path: Path) -> None:
    """Many entries of the directory point to one member."""
    single = zip_of(("a", bytes(2**20)))
    end = single.rindex(b"PK\x05\x06")
    start = single.rindex(b"PK\x01\x02")
    entry = single[start:end]
    entries = b"".join(entry[:46] + name + entry[47:] for name in (bytes([letter]) for letter in range(97, 123)))
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 26, 26, len(entries), start, 0)
    refused(tmp_path, single[:start] + entries + tail, "unpacks to more than|cannot be unpacked")


def test_case_120_a_header_as_long_as_a_disk_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 10 * 2**30
    refused(tmp_path, gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)), "a header of")
    header.type = tarfile.GNUTYPE_LONGNAME
    refused(tmp_path, header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20), "a header of")


def test_case_122_names_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar_of(("a.png", b"1"), ("./a.png", b"2")), "appears twice")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_case_122_names_that_are_twice_in_a_zip_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, zip_of(("a.png", b"1"), ("a.png", b"2")), "appears twice")


@pytest.mark.parametrize("names", [("a", "a/b.png"), ("a/b.png", "a")])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_case_122_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str], pack) -> None:
    refused(tmp_path, pack(*((name, b"1") for name in names)), "appears twice|cannot be unpacked")


@pytest.mark.usefixtures("small_budget")
def test_case_122_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    refused(tmp_path, tar_of(*((f"{number}.png", b"") for number in range(11))), "more than 10 files")


def test_case_123_an_encrypted_zip_is_named(tmp_path: Path) -> None:
    content = bytearray(zip_of(("a.png", b"1")))
    for start in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[start] |= 1
    refused(tmp_path, bytes(content), "'a.png' is encrypted; pack it without a password")


@pytest.mark.parametrize(("compression", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
def test_case_123_other_methods_are_named(tmp_path: Path, compression: int, name: str) -> None:
    refused(tmp_path, zip_of(("a.png", b"1"), compression=compression), f"the method {name}, expected deflate")


@pytest.mark.parametrize(
    ("begin", "kind"), [(b"7z\xbc\xaf\x27\x1c", "a .7z"), (b"Rar!\x1a\7\1", "a .rar"), (b"\xfd7zXZ\0", "an .xz")]
)
def test_case_123_other_archives_are_named(tmp_path: Path, begin: bytes, kind: str) -> None:
    refused(tmp_path, begin + bytes(1000), f"it is {kind} archive, expected .zip")


def test_case_123_trailing_junk_and_a_program_in_front_are_fine(tmp_path: Path) -> None:
    content = zip_of(("a.png", b"1"))
    assert unpacked(tmp_path, b"MZ a program" + content) == {"a.png": b"1"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2"])
def test_case_124_what_is_cut_short_is_refused(tmp_path: Path, share: float, kind: str) -> None:
    entries = [(f"{number}.png", os.urandom(50_000)) for number in range(4)]
    content = zip_of(*entries) if kind == "zip" else tar_of(*entries, mode="w" if kind == "tar" else f"w:{kind}")
    refused(tmp_path, content[: int(len(content) * share)], "cannot be unpacked")


def test_case_124_a_gzip_of_two_members_is_one_tar(tmp_path: Path) -> None:
    packed = tar_of(("a.png", b"1" * 3000))
    assert unpacked(tmp_path, gzip.compress(packed[:2000]) + gzip.compress(packed[2000:])) == {"a.png": b"1" * 3000}


def test_case_124_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    assert unpacked(tmp_path, tar_of(("a.png", b"1")), "photos.zip") == {"a.png": b"1"}
    assert unpacked(tmp_path / "deep", zip_of(("b.png", b"1")), "photos.tar.gz") == {"b.png": b"1"}


def test_a_tar_whose_last_file_is_a_zip_is_a_tar(tmp_path: Path) -> None:
    assert set(unpacked(tmp_path, tar_of(("a.png", b"1"), ("b.zip", zip_of(("c.png", b"2")))))) == {"a.png", "b.zip"}


def test_a_full_disk_is_not_told_as_the_archives_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.zip").write_bytes(zip_of(("a.png", b"1")))
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(FileSystemError, match="No space left on device; TMPDIR"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out", archives.Budget([tmp_path / "a.zip"]))


def test_case_122_a_million_empty_entries_are_refused_by_the_archives_name(tmp_path: Path) -> None:
    """Its directory alone would take more than a gigabyte of memory to read."""
    entry = zipfile.ZipInfo("0.jpg")
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + entry.filename.encode()
    count = 1_000_000
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, count * len(central), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, count * len(central), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    archive = tmp_path / "empty.zip"
    archive.write_bytes(central * count + end64 + locator + end)
    with pytest.raises(InvalidZipFileError, match=r"empty\.zip: it has 1,000,000 files and folders in 51,000,098 bytes"):
        archives.unpack(archive, tmp_path / "out", archives.Budget([archive]))
    few = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, count * len(central), 0, 0)  # its own count lies
    archive.write_bytes(central * count + few)
    with pytest.raises(InvalidZipFileError, match=r"empty\.zip: it has 510,000 files and folders"):
        archives.unpack(archive, tmp_path / "out", archives.Budget([archive]))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_case_122_very_many_empty_files_are_refused_before_they_are_written(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designer_vision.formats.archives.MAX_EMPTY", 50)
    archive = tmp_path / f"empty.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("full.jpg", "x" * 10_000)
            for number in range(51):
                packed.writestr(f"{number}.jpg", "")
    else:
        with tarfile.open(archive, "w") as packed:
            for number in range(51):
                packed.addfile(tarfile.TarInfo(f"{number}.jpg"), io.BytesIO())
    with pytest.raises(InvalidZipFileError, match=rf"empty\.{kind}: it has more than 50 empty files"):
        archives.unpack(archive, tmp_path / "out", archives.Budget([archive]))
    assert len(list((tmp_path / "out").iterdir())) <= 50
