from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from designer_vision.formats import archives
from designer_vision.runtime.errors import InvalidZipFileError


def unpack(archive: Path, folder: Path) -> None:
    archives.unpack(archive, folder, archives.Budget([archive]))


def make_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return path


def make_tar(path: Path, mode: str, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, mode) as packed:
        for member, content in members:
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2"])
def test_every_kind_is_unpacked_whatever_its_name_says(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "photos.zip"
    if kind == "zip":
        make_zip(archive, {"cats/1.png": b"abc"})
    else:
        make_tar(archive, "w:" + kind.partition(".")[2], [(tarfile.TarInfo("cats/1.png"), b"abc")])
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "cats" / "1.png").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_tar(tmp_path / "a.tar", "w", [(tarfile.TarInfo(name), b"x")])
    with pytest.raises(InvalidZipFileError, match="points outside the folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("x.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_are_unpacked(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(InvalidZipFileError, match="only plain files"):
        unpack(make_tar(tmp_path / "a.tar", "w", [(member, b"")]), tmp_path / "out")


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", "w", [(tarfile.TarInfo("a.png"), b"1"), (tarfile.TarInfo("a.png"), b"2")])
    with pytest.raises(InvalidZipFileError, match="twice"):
        unpack(archive, tmp_path / "out")


def test_a_bomb_is_stopped_on_its_real_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MIN_ALLOWED", 2**20)
    archive = make_zip(tmp_path / "a.zip", {"a.png": bytes(64 * 2**20)})
    with pytest.raises(InvalidZipFileError, match="unpacks to more than"):
        unpack(archive, tmp_path / "out")
    assert sum(file.stat().st_size for file in tmp_path.rglob("a.png")) <= archives.MAX_RATIO * archive.stat().st_size + 2**20


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    whole = make_zip(tmp_path / "a.zip", {f"{number}.png": bytes(range(256)) for number in range(20)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InvalidZipFileError, match=r"cut\.zip"):
        unpack(tmp_path / "cut.zip", tmp_path / "out")


def test_what_a_mac_adds_is_left_out(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"__MACOSX/x/._1.png": b"", "x/._2.png": b"", "x/1.png": b"1"}), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*.png")] == ["1.png"]
