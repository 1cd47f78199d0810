"""A folder as it is on a mount of a blob store: read-only, and every file costs a wait for its attributes and one to open it.

    python benchmarks/slow_folder.py SOURCE MOUNTPOINT --attribute_ms 10 --open_ms 20

serves until it is ended or unmounted. The kernel caches attributes and names for 120 s, as on Azure's mounts. For tests of
faults, each by the name of a file:

    --stall NAME                 opening it is never answered
    --fail NAME:ERRNO:TIMES      so many times, opening it fails with EIO, ESTALE, ...
    --fail_read NAME:ERRNO:TIMES the same of reading it
    --shrink NAME                its attributes claim twice its size

It speaks the kernel's FUSE protocol itself. By fusepy and libfuse 2 the kernel looks names of a folder up one after the other (94
files/s at 10 ms, however many ask; libfuse 3, which today's mounts use, allows it many at once), and a file costs 0.5 to 1 ms of
a core that the measured program needs too. Here answers that wait are entries of a heap, so that hundreds cost nothing.

Needs Linux with /dev/fuse, and root or fusermount (Debian's package `fuse`).
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import heapq
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

CACHED_SECONDS = 120
LOOKUP, FORGET, GETATTR, READLINK, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 26, 27, 28, 29, 36, 42
UNANSWERED = frozenset({FORGET, BATCH_FORGET})
ASYNC_READ, PARALLEL_LOOKUPS, MAX_PAGES = 1 << 0, 1 << 18, 1 << 22
DIRECT_IO, KEEP_CACHE = 1 << 0, 1 << 1
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY_OUT, ATTR_OUT = struct.Struct("<QQQQII"), struct.Struct("<QII")
OPEN_OUT, READ_IN, ENTRY, STATFS_OUT = (
    struct.Struct("<QII"),
    struct.Struct("<QQI"),
    struct.Struct("<QQII"),
    struct.Struct("<QQQQQIIII24x"),
)
ROOT = 1
LONGEST_REQUEST = 2**16
MS_RDONLY, MNT_DETACH = 1, 2


class SlowFolder:
    """What is answered, and when.

    Each operation gives its answer (bytes, or an OSError is raised) and has a wait of its own, in milliseconds.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._paths = [b"", os.fsencode(arguments.source.resolve())]
        self._nodes = {self._paths[ROOT]: ROOT}
        self._stalled, self._shrunk = ({os.fsencode(name) for name in names} for names in (arguments.stall, arguments.shrink))
        self._failures = {OPEN: _failures(arguments.fail), READ: _failures(arguments.fail_read)}
        self._failed: Counter[tuple[int, bytes]] = Counter()
        self._operations = {
            LOOKUP: self.lookup,
            GETATTR: self.attributes,
            READLINK: self.readlink,
            OPEN: self.open,
            READ: self.read,
            STATFS: self.statfs,
            RELEASE: self.release,
            INIT: self.init,
            OPENDIR: self.opendir,
            READDIR: self.readdir,
            RELEASEDIR: lambda node, body: b"",
        }
        attribute = arguments.attribute_ms
        self._waits = {
            LOOKUP: attribute,
            GETATTR: attribute,
            READDIR: attribute,
            OPEN: arguments.open_ms,
            READ: arguments.read_ms,
        }

    def wait(self, operation: int, node: int, body: memoryview) -> float:
        """Seconds until an operation is answered."""
        if operation == OPEN and _name(self._paths[node]) in self._stalled:
            return float("inf")
        if operation == READDIR and READ_IN.unpack_from(body)[1]:
            return 0.0  # the rest of the same list
        return float(self._waits.get(operation, 0.0)) / 1000

    def answer(self, operation: int, node: int, body: memoryview) -> bytes:
        if operation not in self._operations:
            raise OSError(errno.ENOSYS, "not needed to read")
        return self._operations[operation](node, body)

    def init(self, node: int, body: memoryview) -> bytes:
        flags = ASYNC_READ | PARALLEL_LOOKUPS | MAX_PAGES
        return INIT_OUT.pack(7, 31, 2**17, flags, 512, 384, 4096, 1, 256, 0, 0)

    def lookup(self, node: int, body: memoryview) -> bytes:
        path = self._paths[node] + b"/" + bytes(body[:-1])
        try:
            attributes = self._attributes(path)
        except FileNotFoundError:  # the kernel notes that too
            return ENTRY_OUT.pack(0, 0, CACHED_SECONDS, 0, 0, 0) + bytes(ATTRIBUTES.size)
        if path not in self._nodes:
            self._nodes[path] = len(self._paths)
            self._paths.append(path)
        return ENTRY_OUT.pack(self._nodes[path], 0, CACHED_SECONDS, CACHED_SECONDS, 0, 0) + attributes

    def attributes(self, node: int, body: memoryview) -> bytes:
        return ATTR_OUT.pack(CACHED_SECONDS, 0, 0) + self._attributes(self._paths[node])

    def readlink(self, node: int, body: memoryview) -> bytes:
        return os.readlink(self._paths[node])  # noqa: PTH115 (bytes)

    def open(self, node: int, body: memoryview) -> bytes:
        self._perhaps_fail(OPEN, node)
        reading = (
            DIRECT_IO if _name(self._paths[node]) in self._failures[READ] else KEEP_CACHE
        )  # the kernel would try again by itself
        return OPEN_OUT.pack(os.open(self._paths[node], os.O_RDONLY), reading, 0)

    def read(self, node: int, body: memoryview) -> bytes:
        self._perhaps_fail(READ, node)
        handle, offset, size = READ_IN.unpack_from(body)
        return os.pread(handle, size, offset)

    def release(self, node: int, body: memoryview) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def opendir(self, node: int, body: memoryview) -> bytes:
        return OPEN_OUT.pack(0, 0, 0)

    def readdir(self, node: int, body: memoryview) -> bytes:
        _, offset, size = READ_IN.unpack_from(body)
        found = bytearray()
        with os.scandir(self._paths[node]) as entries:
            for number, entry in enumerate(sorted(entries, key=lambda entry: entry.name), start=1):
                padding = bytes(-len(entry.name) % 8)
                kind = stat.S_IFLNK if entry.is_symlink() else stat.S_IFDIR if entry.is_dir() else stat.S_IFREG
                if number > offset:
                    if len(found) + ENTRY.size + len(entry.name) + len(padding) > size:
                        break
                    found += ENTRY.pack(entry.inode(), number, len(entry.name), kind >> 12) + entry.name + padding
        return bytes(found)

    def statfs(self, node: int, body: memoryview) -> bytes:
        return STATFS_OUT.pack(2**30, 0, 0, 2**20, 0, 4096, 255, 4096, 0)

    def _attributes(self, path: bytes) -> bytes:
        status = os.lstat(path)
        size = status.st_size * (2 if _name(path) in self._shrunk else 1)
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        return ATTRIBUTES.pack(
            status.st_ino,
            size,
            -(-size // 512),
            *(nanoseconds // 10**9 for nanoseconds in times),
            *(nanoseconds % 10**9 for nanoseconds in times),
            status.st_mode,
            status.st_nlink,
            status.st_uid,
            status.st_gid,
            0,
            4096,
            0,
        )

    def _perhaps_fail(self, operation: int, node: int) -> None:
        name = _name(self._paths[node])
        number, times = self._failures[operation].get(name, (0, 0))
        if self._failed[operation, name] < times:
            self._failed[operation, name] += 1
            raise OSError(number, os.strerror(number))


def serve(kernel: int, folder: SlowFolder) -> None:
    """Answer requests, each in its time, until the folder is unmounted."""
    due: list[tuple[float, int, int, int, int, bytes]] = []
    poll, buffer, order = select.poll(), bytearray(LONGEST_REQUEST), count()
    poll.register(kernel, select.POLLIN)
    while True:
        seconds = max(0.0, due[0][0] - time.monotonic()) if due else float("inf")
        if poll.poll(None if seconds == float("inf") else seconds * 1000):
            try:
                length = os.readv(kernel, [buffer])
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            _, operation, unique, node, *_ = IN_HEADER.unpack_from(buffer)
            body = memoryview(buffer)[IN_HEADER.size : length]
            if operation == INTERRUPT:  # whoever waits is being killed
                (killed,) = struct.unpack_from("<Q", body)
                if any(request[2] == killed for request in due):
                    due = [request for request in due if request[2] != killed]
                    heapq.heapify(due)
                    _write(kernel, killed, -errno.EINTR, b"")
            elif operation not in UNANSWERED:
                wait = folder.wait(operation, node, body)
                if wait:
                    heapq.heappush(due, (time.monotonic() + wait, next(order), unique, operation, node, bytes(body)))
                else:
                    _answer(kernel, folder, unique, operation, node, body)
        while due and due[0][0] <= time.monotonic():
            _, _, unique, operation, node, kept = heapq.heappop(due)
            _answer(kernel, folder, unique, operation, node, memoryview(kept))


def _answer(kernel: int, folder: SlowFolder, unique: int, operation: int, node: int, body: memoryview) -> None:
    try:
        _write(kernel, unique, 0, folder.answer(operation, node, body))
    except OSError as error:
        _write(kernel, unique, -(error.errno or errno.EIO), b"")


def _write(kernel: int, unique: int, error: int, content: bytes) -> None:
    try:
        os.writev(kernel, [OUT_HEADER.pack(OUT_HEADER.size + len(content), error, unique), content])
    except OSError as failure:
        if failure.errno not in (errno.ENOENT, errno.ENODEV):  # nobody waits for it any more
            raise


def mount(mountpoint: Path) -> int:
    """Mount a FUSE file system, and give the descriptor that its requests come from.

    Raises:
        OSError: this system does not allow it.
    """
    options = "default_permissions,allow_other,max_read=131072"
    if os.geteuid():
        ours, theirs = socket.socketpair()
        variables = os.environ | {"_FUSE_COMMFD": str(theirs.fileno())}
        command = ["fusermount", "-o", "ro,fsname=slow,max_read=131072", str(mountpoint)]
        if subprocess.run(command, env=variables, pass_fds=[theirs.fileno()], check=False).returncode:
            raise PermissionError(errno.EPERM, "fusermount does not mount it")
        return socket.recv_fds(ours, 1, 1)[1][0]
    kernel = os.open("/dev/fuse", os.O_RDWR)
    data = f"fd={kernel},rootmode=40000,user_id=0,group_id=0,{options}".encode()
    if _c_library().mount(b"slow", os.fsencode(mountpoint), b"fuse", MS_RDONLY, data):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return kernel


def unmount(mountpoint: Path) -> None:
    """Unmount, whoever still reads there."""
    if os.geteuid():
        subprocess.run(["fusermount", "-uz", str(mountpoint)], check=False)  # noqa: S607 (wherever it lies)
    else:
        _c_library().umount2(os.fsencode(mountpoint), MNT_DETACH)


def _c_library() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _failures(texts: list[str]) -> dict[bytes, tuple[int, int]]:
    split = (text.rsplit(":", 2) for text in texts)
    return {os.fsencode(name): (getattr(errno, number), int(times)) for name, number, times in split}


def _stop(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("mountpoint", type=Path)
    for name in ("attribute", "open", "read"):
        parser.add_argument(f"--{name}_ms", type=float, default=0)
    for name in ("stall", "fail", "fail_read", "shrink"):
        parser.add_argument(f"--{name}", action="append", default=[])
    arguments = parser.parse_args()
    try:
        kernel = mount(arguments.mountpoint)
    except OSError as error:
        sys.exit(f"no slow mount: {error.strerror}; it needs Linux with /dev/fuse, and root or fusermount")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        serve(kernel, SlowFolder(arguments))
    finally:
        unmount(arguments.mountpoint)


if __name__ == "__main__":
    main()
