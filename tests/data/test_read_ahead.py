"""Files fetched before they are needed: in the plan's order, many at a time, within what may be held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import make_image_directory
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.data import read_ahead
from designer_vision.data.read_ahead import Depth, ReadAhead, depth_for, reading
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime import machine
from designer_vision.runtime.errors import FileSystemError, InvalidDatasetError
from designer_vision.runtime.machine import is_far


class Storage:
    """Contents of a given size; counts what is under way, and what was read and not yet taken."""

    def __init__(self, size: int = 10, wait: float = 0.0) -> None:
        self.read_for: list[int] = []
        self.most_under_way = self.under_way = 0
        self._size, self._wait, self._lock = size, wait, threading.Lock()

    def read(self, number: int, reserve: Callable[[int], None]) -> bytes:
        reserve(self._size // 4 * 4 + 4)
        with self._lock:
            self.read_for.append(number)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(self._wait)
        with self._lock:
            self.under_way -= 1
        return number.to_bytes(4, "little") * (self._size // 4 + 1)


def number_in(content: bytes | None) -> int:
    assert content is not None
    return int.from_bytes(content[:4], "little")


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 8), st.integers(1, 200))
def test_every_content_is_the_one_that_was_asked_for_also_where_numbers_come_twice(
    numbers: list[int], threads: int, size: int
) -> None:
    ahead = ReadAhead(Storage().read, Depth(threads, size))
    ahead.announce(numbers)
    assert [number_in(ahead.take(number)) for number in numbers] == numbers
    ahead.close()


def test_what_nobody_announced_is_read_when_it_is_taken() -> None:
    ahead = ReadAhead(Storage().read, Depth(2, 1000))
    ahead.announce([1, 2])
    assert [number_in(ahead.take(number)) for number in (7, 2, 1)] == [7, 2, 1]
    ahead.close()


def test_many_wait_at_once_and_no_more_than_threads() -> None:
    storage = Storage(wait=0.05)
    ahead = ReadAhead(storage.read, Depth(20, 10**6))
    ahead.announce(range(100))
    for number in range(100):
        ahead.take(number)
    ahead.close()
    assert storage.most_under_way == 20


def test_no_more_is_held_than_its_size_once_the_size_of_files_is_known() -> None:
    storage = Storage(size=1000)
    ahead = ReadAhead(storage.read, Depth(50, 20_000))
    ahead.announce(range(1000))
    for number in range(500):
        ahead.take(number)
    _until(lambda: storage.under_way == 0 and ahead._under_way == 0)
    assert 510 <= len(storage.read_for) <= 521
    ahead.close()


def test_no_more_is_held_where_small_files_come_before_large_ones() -> None:
    size_of = [1000] * 100 + [400_000] * 40
    read, lock = [0], threading.Lock()

    def storage(number: int, reserve: Callable[[int], None]) -> bytes:
        reserve(size_of[number])
        with lock:
            read[0] += size_of[number]
        return bytes(size_of[number])

    ahead = ReadAhead(storage, Depth(50, 1_000_000))
    ahead.announce(range(140))
    taken = 0
    for number in range(140):
        time.sleep(0.002)
        assert read[0] - taken <= 1_400_000  # what somebody waits for may come on top
        taken += len(ahead.take(number) or b"")
    ahead.close()


def test_a_file_larger_than_what_may_be_held_is_read() -> None:
    ahead = ReadAhead(Storage(size=5000).read, Depth(4, 100))
    ahead.announce(range(10))
    assert [number_in(ahead.take(number)) for number in range(10)] == list(range(10))
    ahead.close()


def test_an_error_is_raised_where_its_file_is_taken_and_nowhere_else() -> None:
    def read(number: int, reserve: object) -> bytes:
        if number % 3 == 1:
            raise InvalidDatasetError(f"{number} is missing")
        return b"content"

    ahead = ReadAhead(read, Depth(4, 1000))
    ahead.announce(range(9))
    for number in range(9):
        if number % 3 == 1:
            with pytest.raises(InvalidDatasetError, match=f"^{number} is missing"):
                ahead.take(number)
        else:
            assert ahead.take(number) == b"content"
    ahead.close()


def test_where_no_thread_can_be_started_whoever_takes_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ahead = ReadAhead(Storage().read, Depth(4, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        ahead.announce(range(3))
        assert [number_in(ahead.take(number)) for number in range(3)] == [0, 1, 2]


def test_its_threads_end_when_it_is_closed() -> None:
    before = threading.active_count()
    ahead = ReadAhead(Storage(wait=0.05).read, Depth(8, 1000))
    ahead.announce(range(100))
    ahead.take(0)
    ahead.close()
    _until(lambda: threading.active_count() == before)


def test_a_node_s_processes_share_what_it_may_wait_for_and_hold() -> None:
    alone, shared = depth_for(1), depth_for(16)
    assert (alone.threads, alone.size) == (256, 64 * 2**20)
    assert (shared.threads * 16, shared.size * 16) == (alone.threads, alone.size)
    assert depth_for(1000).threads == 4


def test_few_open_files_mean_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "open_files_allowed", lambda: 128)
    assert depth_for(1).threads == 32


def test_few_threads_that_are_allowed_are_not_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "threads_allowed", lambda: 100)
    assert depth_for(1).threads == 25


@pytest.mark.parametrize(
    ("kind", "far"),
    [("ext4", False), ("fuseblk", False), ("overlay", False), (None, False), ("fuse", True), ("fuse.blobfuse2", True), ("nfs4", True),
     ("cifs", True)],
)  # fmt: skip
def test_a_mount_is_far_by_its_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, far: bool) -> None:
    monkeypatch.setattr(machine, "file_system_of", lambda folder: kind)
    assert is_far(tmp_path) is far


@pytest.mark.parametrize("far", [False, True])
def test_a_folder_s_images_are_read_the_same_whether_it_is_far_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: bool
) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    monkeypatch.setattr(read_ahead, "is_far", lambda folder: far)
    order = list(range(len(index)))[::-1]
    with reading(index, order) as read:
        assert [read(number) for number in order] == [index.read(number) for number in order]
        (tmp_path / "images" / index.names[0]).unlink()
        with pytest.raises(InvalidDatasetError, match="is missing"):
            read(0)


def test_a_mount_that_does_not_answer_is_told_with_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    monkeypatch.setattr(read_ahead, "is_far", lambda folder: True)
    monkeypatch.setattr("designer_vision.runtime.settings.Settings.patience", timedelta(seconds=0.2))
    answer, original = threading.Event(), type(index).read

    def read(self: object, number: int, reserve: object = None) -> bytes:
        if number == 3:
            answer.wait()
        return original(index, number)

    monkeypatch.setattr(type(index), "read", read)
    with reading(index, range(len(index))) as take:
        assert take(2) == original(index, 2)
        with pytest.raises(FileSystemError, match=r"0_3\.png has not been read within 0 s; check the mount"):
            take(3)
    answer.set()


def _until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
