"""What this machine has, and work spread over all of it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
AT_A_TIME = 256
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""glibc's malloc.h"""
HEAP_GROWS_BY = 256 * 2**20


def available_cpus() -> int:
    """The CPUs that this process may use, which in a container can be fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(work: Callable[[int], Result], count: int) -> Iterator[Result]:
    """The results of `work(0)` to `work(count - 1)`, in order, by one thread a CPU, a few hundred ahead at most.

    Threads suffice for images: Pillow and torch decode, resize and encode without holding the interpreter.
    """
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, count, AT_A_TIME):
            yield from pool.map(work, range(start, min(start + AT_A_TIME, count)))


def keep_freed_memory() -> None:
    """Keep glibc from giving freed memory back to the kernel, only to ask for it again at the next step.

    A network's step on a CPU allocates and frees hundreds of megabytes; each time the kernel would clear the pages anew.
    The process then holds on to the most it ever used. Does nothing where the C library is not glibc.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, HEAP_GROWS_BY)):
        library.mallopt(parameter, value)
