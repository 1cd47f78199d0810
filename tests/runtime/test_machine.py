from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from designer_vision.runtime.machine import (
    address_towards,
    available_cpus,
    available_memory,
    file_system_of,
    in_order,
    interface_of,
    is_far,
)


def test_results_come_in_order_however_long_each_takes() -> None:
    assert list(in_order(lambda number: time.sleep(0.02 * (number % 2)) or number, 9)) == list(range(9))


def test_an_error_passes_through() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        list(in_order(work, 5))


def test_there_is_a_cpu() -> None:
    assert available_cpus() >= 1


FAULTS = """
import resource, sys, torch
from designer_vision.runtime.machine import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(40):
    if number == 20:  # by now the heap has grown to what the loop needs
        before = faults()
    assert torch.full((2**24,), float(number)).mean() == number
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_freed_memory_is_used_again_without_the_kernel() -> None:
    def count(mode: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True).stdout)

    assert count("kept") * 5 < count("given back")  # the heap may still grow once


def test_some_memory_is_available_and_less_than_the_machine_has() -> None:
    assert 0 < available_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_process_is_not_tied_to_one_that_is_not_its_parent() -> None:
    program = "from designer_vision.runtime.machine import die_with_parent; die_with_parent(1); print('alive')"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "alive\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_folder_s_file_system_is_told_whatever_mounts_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = f"1 2 {os.major(device)}:{os.minor(device)} / / rw - fuse.blobfuse2 source rw\n".encode()
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"9 1 0:99 / /mnt/\xff\xfe rw - tmpfs tmpfs rw\n" + line)
    monkeypatch.setattr("designer_vision.runtime.machine.MOUNTS", mounts)
    assert file_system_of(tmp_path) == "fuse.blobfuse2"
    assert is_far(tmp_path)
    assert file_system_of(tmp_path / "none") is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_the_interface_of_an_address_is_found_by_its_name() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") == ""
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards("no-such-node.invalid") == ""
