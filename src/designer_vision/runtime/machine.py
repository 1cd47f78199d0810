"""What this machine has, and work spread over all of it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
SIOCGIFADDR = 0x8915
"""Linux's sockios.h"""
AT_A_TIME = 256
C_LIBRARY: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""glibc's malloc.h"""
PR_SET_PDEATHSIG = 1
"""Linux's prctl.h"""
HEAP_GROWS_BY = 256 * 2**20
CGROUP_MEMORY = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)

MOUNTS = Path("/proc/self/mountinfo")
FAR = frozenset(
    {"fuse", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "beegfs", "gpfs", "virtiofs", "vboxsf", "prl_fs"}
)
"""File systems that ask another machine, or a program in between. NTFS by FUSE calls itself fuseblk."""
CGROUP_PIDS = ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")


def available_cpus() -> int:
    """The CPUs that this process may use, which in a container can be fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_back_freed_memory() -> None:
    """Have glibc give back to the kernel what it holds of freed memory; nothing where the C library is another."""
    if hasattr(C_LIBRARY, "malloc_trim"):
        C_LIBRARY.malloc_trim(0)


def available_memory() -> int:
    """Bytes that can still be used before something has to give: of the machine, or of the container if that is less.

    0 where neither can be told.
    """
    found = []
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    for limit, used in CGROUP_MEMORY:
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return min(found, default=0)


def free_shared_memory() -> int | None:
    """Bytes left in /dev/shm, where processes hand tensors to each other; None where there is no such place."""
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108 (looked at, not written to)
    except OSError:
        return None


def open_files_allowed() -> int:
    """How many files this process may have open, after it has asked for as many as it can get without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def threads_allowed() -> int:
    """How many processes and threads this user, or this container, may have in all."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    found = [soft if soft != resource.RLIM_INFINITY else sys.maxsize]
    for limit in CGROUP_PIDS:
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(int(Path(limit).read_text()))
    return min(found)


def file_system_of(folder: Path) -> str | None:
    """The kind of file system that a folder lies on, as Linux calls it (`ext4`, `nfs4`, `fuse.blobfuse2`); None elsewhere."""
    try:
        device = folder.stat().st_dev
        mounts = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    own = f"{os.major(device)}:{os.minor(device)}"
    found = (line.partition(" - ")[2].split() for line in mounts if line.split()[2] == own)
    return next((words[0] for words in found if words), None)


def is_far(folder: Path) -> bool:
    """Whether a folder lies on a network mount, or behind FUSE; False where the system does not tell."""
    return (file_system_of(folder) or "").partition(".")[0] in FAR


@contextmanager
def memory_file(size: int) -> Iterator[Path]:
    """Some zeroed memory as a file that all processes of this user on this machine can map while the block lasts.

    It is no part of /dev/shm, which a container keeps small. What is never written to takes no memory.

    Raises:
        OSError: the system has no such memory.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError(f"{sys.platform} has no memory files")
    descriptor = os.memfd_create("designer_vision")
    try:
        os.ftruncate(descriptor, size)
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


def in_order(work: Callable[[int], Result], count: int) -> Iterator[Result]:
    """The results of `work(0)` to `work(count - 1)`, in order, by one thread a CPU, a few hundred ahead at most.

    Threads suffice for images: Pillow and torch decode, resize and encode without holding the interpreter.
    """
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, count, AT_A_TIME):
            yield from pool.map(work, range(start, min(start + AT_A_TIME, count)))


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends, however that happens: nothing is left running for nobody (on Linux).

    Args:
        parent: its process. The kernel watches the thread that started this one, which must be one that stays. Nothing
            happens if another process, such as a shell in between, is the parent.
    """
    if sys.platform != "linux" or os.getppid() != parent:
        return
    C_LIBRARY.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it was watched
        os.kill(os.getpid(), signal.SIGKILL)


def keep_freed_memory() -> None:
    """Keep glibc from giving freed memory back to the kernel, only to ask for it again at the next step.

    A network's step on a CPU allocates and frees hundreds of megabytes; each time the kernel would clear the pages anew.
    The process then holds on to the most it ever used. Does nothing where the C library is not glibc.
    """
    if not hasattr(C_LIBRARY, "mallopt"):
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, HEAP_GROWS_BY)):
        C_LIBRARY.mallopt(parameter, value)


def address_towards(host: str) -> str:
    """This machine's address on the network by which it reaches another; empty where it reaches none. Nothing is sent."""
    with suppress(OSError):
        family, kind, *_, target = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    return ""


def interface_of(address: str) -> str:
    """The name of the network interface that has an IPv4 address; empty where none has, or the system does not tell."""
    if sys.platform != "linux":
        return ""
    for _, name in socket.if_nameindex():
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return ""
