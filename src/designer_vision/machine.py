"""What this machine has."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """The CPUs that this process may use, which in a container can be fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
