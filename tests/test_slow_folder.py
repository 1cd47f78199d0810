"""The slow mount that benchmarks and other tests read from."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from designer_vision.runtime.machine import file_system_of, is_far

Mount = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "source" / f"{number % 3}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(5000 * number))
    (tmp_path / "source/link").symlink_to("0/0.bin")
    return tmp_path / "source"


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_shows_the_same_names_and_bytes_and_cannot_be_written(slow_mount: Mount, folder: Path) -> None:
    mounted = slow_mount(folder)
    assert below(mounted) == below(folder)
    assert (mounted / "link").readlink() == Path("0/0.bin")
    assert (mounted / "0/3.bin").stat().st_mtime_ns == (folder / "0/3.bin").stat().st_mtime_ns
    assert not (mounted / "0/none.bin").exists()
    with pytest.raises(OSError, match="Read-only"):
        (mounted / "new").write_bytes(b"")


def test_it_is_far(slow_mount: Mount, folder: Path) -> None:
    assert file_system_of(slow_mount(folder)) == "fuse"
    assert is_far(slow_mount(folder))
    assert not is_far(folder)


def test_hundreds_wait_at_a_time_and_the_kernel_keeps_what_it_knows(slow_mount: Mount, folder: Path) -> None:
    mounted = slow_mount(folder, attribute_ms=150, open_ms=150)
    files = [mounted / path.relative_to(folder) for path in folder.rglob("*.bin")]
    start = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(Path.read_bytes, files))
    assert time.monotonic() - start < 40 * 0.3 / 4
    assert time.monotonic() - start >= 0.3
    start = time.monotonic()
    assert all(file.stat().st_size % 5000 == 0 for file in files)
    assert time.monotonic() - start < 40 * 0.15 / 4


def test_faults_are_as_asked_for(slow_mount: Mount, folder: Path) -> None:
    mounted = slow_mount(folder, fail="4.bin:EIO:2", fail_read="5.bin:ESTALE:1", shrink="6.bin")
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (mounted / "1/4.bin").open("rb")
    assert len((mounted / "1/4.bin").read_bytes()) == 20_000
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        (mounted / "2/5.bin").read_bytes()
    assert len((mounted / "2/5.bin").read_bytes()) == 25_000
    assert (mounted / "0/6.bin").stat().st_size == 60_000
    assert len((mounted / "0/6.bin").read_bytes().rstrip(b"\0")) <= 30_000


def test_who_waits_for_a_file_that_is_never_opened_can_be_killed(slow_mount: Mount, folder: Path) -> None:
    mounted = slow_mount(folder, stall="7.bin")
    reader = subprocess.Popen([sys.executable, "-c", f"open({str(mounted / '1/7.bin')!r})"])
    time.sleep(0.5)
    assert reader.poll() is None
    reader.kill()
    assert reader.wait(5) == -signal.SIGKILL


def test_where_there_is_no_fuse_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "benchmarks/slow_folder.py"), str(tmp_path), str(tmp_path / "none")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("no slow mount: ")
