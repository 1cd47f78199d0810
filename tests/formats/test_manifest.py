from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from designer_vision.formats.manifest import (
    MANIFEST,
    UNFINISHED,
    Extension,
    Manifest,
    publishing,
    read_manifest,
    read_verified,
    refuse_unfinished,
    write_manifest,
)
from designer_vision.runtime.errors import FailedToWriteOutputsError, InvalidDatasetError


def write(folder: Path, content: bytes = b"rows") -> None:
    with publishing(folder):
        (folder / "list").write_bytes(content)
        write_manifest(folder, Manifest("Thing", Extension(training={"note": [1]}), image_list="list"), ["list"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = read_manifest(tmp_path, "Thing", InvalidDatasetError)
    assert manifest.image_list == "list"
    assert manifest.ours.training == {"note": [1]}
    assert read_verified(tmp_path, "list", manifest, InvalidDatasetError, 100) == b"rows"
    assert not (tmp_path / UNFINISHED).exists()


def test_a_folder_whose_writer_stopped_is_refused_and_can_be_written_again(tmp_path: Path) -> None:
    def stopped() -> None:
        with publishing(tmp_path):
            (tmp_path / "half").mkdir()
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, stopped)
    with pytest.raises(InvalidDatasetError, match="unfinished"):
        read_manifest(tmp_path, "Thing", InvalidDatasetError)
    write(tmp_path)
    assert not (tmp_path / "half").exists()
    read_manifest(tmp_path, "Thing", InvalidDatasetError)


def test_files_of_somebody_else_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FailedToWriteOutputsError, match="not empty"):
        write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedToWriteOutputsError, match="cannot be written"):
        write(tmp_path / "file")


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, b"rows")
    (tmp_path / "list").write_bytes(b"rowz")
    manifest = read_manifest(tmp_path, "Thing", InvalidDatasetError)
    with pytest.raises(InvalidDatasetError, match="hash differs"):
        read_verified(tmp_path, "list", manifest, InvalidDatasetError, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: ModelDirectory", "wrong way round"),
        ("- a list", "Expected `object`, got `array`"),
        ("", "Expected `object`, got `null`"),
        ("a: [", "line 2, column 1; expected what a component writes"),
        ("type: Thing\nextension: {designer_vision: {version: 99}}", "version 99"),
        ("type: !!python/object/apply:os.system ['true']", "only plain values are read"),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InvalidDatasetError, match=message):
        read_manifest(tmp_path, "Thing", InvalidDatasetError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_f28_f31_a_disk_that_fails_while_any_component_writes_is_told_and_nothing_looks_finished(
    tmp_path: Path, number: int
) -> None:
    def write() -> None:
        with publishing(tmp_path / "out"):
            (tmp_path / "out" / "half").write_text("x")
            raise OSError(number, os.strerror(number))

    with pytest.raises(
        FailedToWriteOutputsError, match=f"out cannot be written: .*{os.strerror(number)}; check that disk and run the job again"
    ):
        write()
    with pytest.raises(InvalidDatasetError, match="unfinished"):
        refuse_unfinished(tmp_path / "out", InvalidDatasetError)


def test_what_is_not_the_outputs_fault_is_not_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), publishing(tmp_path / "out"):
        raise FileNotFoundError(errno.ENOENT, "no such input")


def test_f40_two_writers_of_one_output_exclude_each_other(tmp_path: Path) -> None:
    with publishing(tmp_path):
        (tmp_path / "mine").write_text("x")
        with pytest.raises(FailedToWriteOutputsError, match="another job is writing to"), publishing(tmp_path):
            pass
        assert (tmp_path / "mine").exists()


def test_an_output_that_is_finished_while_its_lock_is_waited_for_is_not_written_again(tmp_path: Path) -> None:
    def write_second() -> None:
        with publishing(tmp_path):
            (tmp_path / "second").write_text("x")

    with ThreadPoolExecutor(1) as pool:
        with publishing(tmp_path):
            (tmp_path / "first").write_text("x")
            second = pool.submit(write_second)
            time.sleep(0.5)
            assert not second.done()
        with pytest.raises(FailedToWriteOutputsError, match="is not empty"):
            second.result()
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]


def test_an_output_that_was_given_up_while_its_lock_was_waited_for_is_written(tmp_path: Path) -> None:
    def write_second() -> None:
        with publishing(tmp_path):
            (tmp_path / "second").write_text("x")

    def give_up(pool: ThreadPoolExecutor) -> None:
        with publishing(tmp_path):
            (tmp_path / "first").write_text("x")
            pool.submit(write_second)
            time.sleep(0.5)
            raise KeyError

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyError):
        give_up(pool)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["second"]
