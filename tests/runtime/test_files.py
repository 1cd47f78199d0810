from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from designer_vision.runtime import files
from designer_vision.runtime.errors import FileSystemError, InvalidDatasetError


@pytest.fixture(autouse=True, params=["the kernel checks", "an older kernel"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "an older kernel":
        monkeypatch.setattr(files, "SYSTEM_CALL", None)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "", ".", "./", "a\0b", "x" * 5000, "half \udfff a letter", "\ud800"], ids=ascii
)
def test_case_64_65_66_a_name_that_is_no_file_inside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDatasetError):
        files.read(tmp_path, name, InvalidDatasetError, 10)


@pytest.mark.parametrize("name", ["~/.ssh/id", "%2e%2e/x", "file:///etc/passwd", "-rf", "$(id)"])
def test_case_68_a_name_is_taken_literally(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDatasetError, match="is missing"):
        files.read(tmp_path, name, InvalidDatasetError, 10)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"here")
    assert files.read(tmp_path, name, InvalidDatasetError, 10) == b"here"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "link", "nothing", "/dev/zero"])
def test_case_43_69_a_link_that_leads_out_or_nowhere_or_in_a_circle_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(target)
    with pytest.raises(InvalidDatasetError, match="link"):
        files.read(tmp_path / "inside", "link", InvalidDatasetError, 10)


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "link").symlink_to("file")
    assert files.read(tmp_path, "link", InvalidDatasetError, 10) == b"here"


def test_case_27_70_only_plain_files_are_read_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    os.chdir(tmp_path)
    server.bind("socket")
    for name, message in (("folder", "is a folder"), ("pipe", "is a pipe"), ("socket", "cannot be read")):
        with pytest.raises(InvalidDatasetError, match=message):
            files.read(tmp_path, name, InvalidDatasetError, 10)
    with pytest.raises(InvalidDatasetError, match="is a device"):
        files.read(Path("/dev"), "zero", InvalidDatasetError, 10)


def test_a_file_longer_than_expected_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidDatasetError, match="more than the 1,000"):
        files.read(tmp_path, "huge", InvalidDatasetError, 1000)


@pytest.mark.parametrize(("failures", "number"), [(3, errno.EIO), (1, errno.ESTALE)])
def test_f67_a_passing_fault_of_the_disk_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, number: int
) -> None:
    (tmp_path / "image.png").write_bytes(b"content")
    left, really_open = [number] * failures, os.open

    def sometimes(path: Path, flags: int) -> int:
        if left:
            raise OSError(left.pop(), os.strerror(number))
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", sometimes)
    monkeypatch.setattr(files, "PAUSES", (0.0, 0.0, 0.0))
    assert files.read(tmp_path, "image.png", InvalidDatasetError, 10) == b"content"
    left += [number] * 4
    with pytest.raises(InvalidDatasetError, match=r"image\.png cannot be read"):
        files.read(tmp_path, "image.png", InvalidDatasetError, 10)


def test_a_file_that_is_not_there_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES", (1000.0,))
    with pytest.raises(InvalidDatasetError, match="is missing"):
        files.read(tmp_path, "none.png", InvalidDatasetError, 10)


def test_a_mount_that_is_gone_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path, flags: int) -> int:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(os, "open", gone)
    with pytest.raises(FileSystemError, match=r"image\.png cannot be read: Transport .*; mount its folder again"):
        files.read(tmp_path, "image.png", InvalidDatasetError, 10)


def test_a_file_that_has_grown_is_read_to_its_end_and_one_that_has_shrunk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    for told in (0, 10, 99_999, 100_001, 10**6):
        monkeypatch.setattr(files, "_open_regular", lambda *_, told=told: (os.open(tmp_path / "file", os.O_RDONLY), told))
        assert files.read(tmp_path, "file", InvalidDatasetError, 10**7) == bytes(100_000)


def test_where_a_link_to_the_folder_is_turned_elsewhere_nothing_is_read_from_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "link").symlink_to("one")
    assert files.read(tmp_path / "link", "file", InvalidDatasetError, 10) == b"one"
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    try:
        assert files.read(tmp_path / "link", "file", InvalidDatasetError, 10) == b"one"
    except InvalidDatasetError as error:
        assert "a link that points outside the folder" in error.message  # noqa: PT017 (an older kernel's way)


def test_the_home_of_somebody_whom_the_machine_does_not_have_is_a_name_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert files.at_home("~/photos") == Path("/home/me/photos")
    assert files.at_home("~nobody_of_this_name/photos") == Path("~nobody_of_this_name/photos")
