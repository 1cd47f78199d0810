"""Files on a mount, fetched before they are needed: many wait at a time, and each is handed over in its turn.

A file of a mount costs round trips of 10 to 40 ms, whatever its size. The order of an epoch, and of a folder, is known in
advance, so these waits can overlap: the order in which images are decoded, and their bits, do not change.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from designer_vision.runtime.errors import FileSystemError
from designer_vision.runtime.machine import is_far, open_files_allowed, threads_allowed
from designer_vision.runtime.settings import Settings

THREADS, BYTES = 256, 64 * 2**20
"""Of a node: 200 files under way at 120 ms are 1,700 files a second."""
LEAST_THREADS, LEAST_BYTES = 4, 2**20
FILES_OF_A_READ, OTHER_FILES = 2, 64
SHARE_OF_THREADS = 4
"""Of those that are allowed, one in so many."""
STACK = 2**19
"""Bytes, of which reading needs a fraction; usual are 8 MB, and some containers count what is never touched."""
STARTING = threading.Lock()
"""That size is of all threads that are started meanwhile."""
FIRST_READS = 16
"""Under way until the usual size of a file is known."""
WEIGHT = 1 / 16
"""Of the last file in the usual size."""


@dataclass(frozen=True)
class Depth:
    """How far ahead a process reads.

    Attributes:
        threads: files that it waits for at a time.
        size: bytes that it holds, of files that are there or under way.
    """

    threads: int
    size: int


def depth_for(processes: int) -> Depth:
    """The depth of each of the processes that read on this node."""
    node = min(THREADS, threads_allowed() // SHARE_OF_THREADS)
    threads = min(node // processes, (open_files_allowed() - OTHER_FILES) // FILES_OF_A_READ)
    return Depth(max(LEAST_THREADS, threads), max(LEAST_BYTES, BYTES // processes))


Reserve = Callable[[int], None]
"""Called with the bytes of a file before they are read; it waits until there is room for them."""
Read = Callable[[int, Reserve], bytes | None]
"""The content of a number, or None where nobody needs it any more; called by many threads at once."""


class _Awaited:
    """A content that somebody will take. By a Future each, handing files over takes half as much of a core again."""

    __slots__ = ("_is_there", "content", "failure", "is_begun", "is_wanted", "number", "reserved")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_begun = self.is_wanted = False
        self.reserved = 0
        self.content: bytes | None = None
        self.failure: BaseException | None = None
        self._is_there = threading.Lock()
        self._is_there.acquire()

    def end(self) -> None:
        """Let go whoever waits for it."""
        self._is_there.release()

    def wait(self, seconds: float | None) -> bytes | None:
        """What was read, once it is there."""
        if not self._is_there.acquire(timeout=-1 if seconds is None else seconds):
            raise TimeoutError
        if self.failure is not None:
            raise self.failure
        return self.content


class ReadAhead:
    """Reads what was announced in that order, in threads, and hands it over.

    Args:
        read: the content of a number.
        depth: how many at a time, and how much is held.
    """

    def __init__(self, read: Read, depth: Depth) -> None:
        self._read, self._depth = read, depth
        self._change = threading.Condition(threading.Lock())
        self._planned: deque[_Awaited] = deque()
        self._coming: dict[int, deque[_Awaited]] = {}
        self._due: SimpleQueue[_Awaited | None] = SimpleQueue()
        self._threads = self._under_way = self._unsized = self._held = self._waiting = 0
        self._usual: float | None = None
        self._is_closed = False

    def announce(self, numbers: Iterable[int]) -> None:
        """Have these read, behind all that was announced before."""
        with self._change:
            for number in numbers:
                awaited = _Awaited(number)
                self._planned.append(awaited)
                self._coming.setdefault(number, deque()).append(awaited)
            self._begin()

    def take(self, number: int, seconds: float | None = None) -> bytes | None:
        """What was read for a number; where nobody has begun to, it is read here.

        Args:
            number: announced or not.
            seconds: to wait.

        Raises:
            TimeoutError: it is not there by then.
            Exception: whatever `read` raised for it.
        """
        with self._change:
            awaited = self._of(number)
            if awaited is not None and not awaited.is_begun:
                self._planned.remove(awaited)
                awaited = None
            if awaited is not None:
                awaited.is_wanted = True
                self._wake()
        if awaited is None:
            return self._read(number, lambda size: None)
        try:
            return awaited.wait(seconds)
        finally:
            with self._change:
                self._held -= awaited.reserved
                awaited.reserved = 0
                self._wake()
                self._begin()

    def close(self) -> None:
        """Read nothing more."""
        with self._change:
            self._is_closed = True
            self._planned.clear()
            self._coming.clear()
            self._wake()
            for _ in range(self._threads):
                self._due.put(None)

    def _of(self, number: int) -> _Awaited | None:
        """The first that was announced of a number and not taken; the lock is held."""
        waiting = self._coming.get(number)
        if not waiting:
            return None
        awaited = waiting.popleft()
        if not waiting:
            del self._coming[number]
        return awaited

    def _begin(self) -> None:
        """Give to the threads what there is room for; the lock is held."""
        while self._planned and self._has_room():
            if self._under_way == self._threads and not self._start_thread():
                return
            awaited = self._planned.popleft()
            awaited.is_begun = True
            self._under_way += 1
            self._unsized += 1
            self._due.put(awaited)

    def _has_room(self) -> bool:
        usual = self._depth.size / FIRST_READS if self._usual is None else self._usual
        expected = self._held + (self._unsized + 1) * usual
        return not (self._under_way or self._held) or (self._under_way < self._depth.threads and expected <= self._depth.size)

    def _start_thread(self) -> bool:
        with STARTING:
            usual = threading.stack_size(STACK)
            try:
                threading.Thread(target=self._work, name="read ahead", daemon=True).start()
            except RuntimeError:  # this user may have no more of them: those that there are must do, or who takes reads himself
                return False
            finally:
                threading.stack_size(usual)
        self._threads += 1
        return True

    def _work(self) -> None:
        while (awaited := self._due.get()) is not None:
            try:
                awaited.content = self._read(awaited.number, partial(self._reserve, awaited))
            except BaseException as error:  # noqa: BLE001 (raised where the content is taken)
                awaited.failure = error
            with self._change:
                self._under_way -= 1
                self._unsized -= not awaited.reserved
                self._begin()
            awaited.end()

    def _reserve(self, awaited: _Awaited, size: int) -> None:
        """Wait until there is room for a content; for one that somebody waits for there is, or nobody would ever go on."""
        with self._change:
            while not awaited.is_wanted and self._held and self._held + size > self._depth.size and not self._is_closed:
                self._waiting += 1
                self._change.wait()
                self._waiting -= 1
            self._unsized -= size > 0 and not awaited.reserved
            self._held += size - awaited.reserved  # it may be told twice, when a read is tried again
            awaited.reserved = size
            if size:
                self._usual = size if self._usual is None else self._usual + (size - self._usual) * WEIGHT

    def _wake(self) -> None:
        """Have those look again who wait for room; the lock is held."""
        if self._waiting:
            self._change.notify_all()


def not_read(path: Path, seconds: float) -> FileSystemError:
    """What is said of a file that was waited for in vain."""
    return FileSystemError(f"{path} has not been read within {seconds:.0f} s; check the mount")


class Images(Protocol):
    """What is read ahead of; ImageIndex is one."""

    @property
    def folder(self) -> Path: ...

    def path(self, index: int) -> Path: ...

    def read(self, index: int, reserve: Reserve | None = None) -> bytes: ...


@contextmanager
def reading(images: Images, numbers: Sequence[int]) -> Iterator[Callable[[int], bytes]]:
    """A way to read images that are wanted in about this order: ahead of their use where they are far.

    Args:
        images: of one folder.
        numbers: of the images, in the order of their use; each is read once.

    Yields:
        Gives the bytes of an image and raises what `images.read` does, in any thread; and a FileSystemError where the mount
        does not answer.
    """
    if not is_far(images.folder):
        yield images.read
        return
    ahead = ReadAhead(images.read, depth := depth_for(processes=1))
    plan, seconds = iter(numbers), Settings.from_environment().patience.total_seconds()
    ahead.announce(islice(plan, 2 * depth.threads))

    def take(number: int) -> bytes:
        ahead.announce(islice(plan, 1))
        try:
            content = ahead.take(number, seconds)
        except TimeoutError as error:
            raise not_read(images.path(number), seconds) from error
        assert content is not None
        return content

    try:
        yield take
    finally:
        ahead.close()
