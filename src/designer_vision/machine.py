"""What this machine has, and work spread over all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
AT_A_TIME = 256


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
