"""Files on this machine's disk: shared, bounded, checked, and gone with the last process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from designer_vision.data import disk_cache
from designer_vision.data.disk_cache import HEAD, ROW, DiskCache, free_disk, shared_disk_cache

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a file without a name")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def cache() -> Iterator[DiskCache]:
    with shared_disk_cache(5, 10_000, True, lambda said: said) as cache:
        assert cache is not None
        yield cache


def test_a_content_comes_back_as_it_was_put(cache: DiskCache) -> None:
    assert cache.get(3) is None
    for index, content in ((3, b"three"), (0, b"zero" * 100)):
        cache.put(index, content)
    assert (cache.get(3), cache.get(0), cache.get(4)) == (b"three", b"zero" * 100, None)


def test_what_was_damaged_on_the_disk_counts_as_absent(cache: DiskCache) -> None:
    cache.put(1, b"content")
    end = HEAD + 5 * ROW.size
    os.pwrite(cache._file, b"C", end)
    assert cache.get(1) is None
    os.pwrite(cache._file, b"c", end)
    assert cache.get(1) == b"content"
    os.pwrite(cache._file, (2**62).to_bytes(8, "little"), HEAD + ROW.size)  # where it begins
    assert cache.get(1) is None
    os.pwrite(cache._file, (2**40).to_bytes(8, "little"), HEAD + ROW.size + 8)  # how long it is
    assert cache.get(1) is None
    os.ftruncate(cache._file, HEAD)
    assert cache.get(1) is None


def test_no_more_is_kept_than_the_budget(cache: DiskCache) -> None:
    for index in range(5):
        cache.put(index, bytes([index]) * 3000)
    assert [cache.get(index) is not None for index in range(5)] == [True, True, True, False, False]
    assert os.fstat(cache._file).st_size <= HEAD + 5 * ROW.size + 10_000


def test_a_disk_that_is_full_keeps_no_more_and_nothing_half(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.pwrite, [1, 1]

    def short_of_room(file: int, content: bytes, start: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room.pop()
        return write(file, content[: max(8, len(content) // 2)], start)

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", short_of_room)
        cache.put(0, b"first" * 10)
    cache.put(1, b"second")
    assert (cache.get(0), cache.get(1)) == (None, None)


def _put_all(cache: DiskCache, own: int) -> None:
    for index in range(5):
        cache.put(index, bytes([own, index]) * 100)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_write_at_once_do_not_write_over_each_other(cache: DiskCache, start: str) -> None:
    writers = [get_context(start).Process(target=_put_all, args=(cache, own)) for own in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(cache.get(index) in {bytes([own, index]) * 100 for own in range(4)} for index in range(5))


def test_processes_that_are_told_the_file_read_what_another_put() -> None:
    said: list[str] = []
    with (
        shared_disk_cache(5, 10_000, True, lambda text: said.append(text) or text) as mine,
        shared_disk_cache(5, 0, False, lambda text: said[0]) as other,
    ):
        other.put(2, b"there")
        assert mine.get(2) == b"there"


def test_a_process_that_cannot_open_the_file_has_no_cache(tmp_path: Path) -> None:
    with shared_disk_cache(5, 0, False, lambda said: f"100 {tmp_path / 'nothing'}") as cache:
        assert cache is None


HELD = """
import sys, time
from designer_vision.data.disk_cache import shared_disk_cache
with shared_disk_cache(5, 10**8, True, lambda said: said) as cache:
    cache.put(0, bytes(5 * 10**7))
    print(len(cache.get(0)), flush=True)
    time.sleep(60)
"""


def test_nothing_is_left_on_the_disk_after_a_crash(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert process.stdout.readline() == f"{5 * 10**7}\n"
    assert list(tmp_path.iterdir()) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_in_memory_or_far_away_is_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_disk() > 0
    assert free_disk(forced=1000) == 1000
    assert free_disk(forced=0) == 0
    for kind in ("tmpfs", "fuse"):
        monkeypatch.setattr(disk_cache, "file_system_of", lambda folder, kind=kind: kind)
        monkeypatch.setattr("designer_vision.runtime.machine.file_system_of", lambda folder, kind=kind: kind)
        assert free_disk() == 0
        assert free_disk(forced=1000) == 1000
