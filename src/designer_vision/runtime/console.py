"""Lines for people to read: whatever a folder's names contain, one message is one line."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TextIO

SPACES = "\u00a0\u202f\u3000"
JOINED = re.compile("(?<=[^\\x00-\\x7f])[\u200c\u200d](?=[^\\x00-\\x7f])")
"""A joiner of Persian or Indian letters, or of pictures made of several; between other letters it would only hide."""


def printable(text: str) -> str:
    """The text with control characters, line ends, turned writing directions and what cannot be seen as escapes.

    A file's or a class's name could otherwise forge lines of the log, or hide some.
    """
    joiners = {found.start() for found in JOINED.finditer(text)}
    return "".join(
        letter if letter.isprintable() or letter in SPACES or place in joiners else letter.encode("unicode_escape").decode()
        for place, letter in enumerate(text)
    )


def cell(text: str) -> str:
    """A text for a CSV file that people open: printable, and in quotes of a spreadsheet where that would compute it.

    A file called `=HYPERLINK(...)` could otherwise send the table to a stranger.
    """
    text = printable(text)
    return f"'{text}" if re.match(r"[=+\-@]", text) and not re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print one line to the log: standard output, or another stream. Where nobody takes it any more, the work goes on without."""
    stream = stream or sys.stdout
    try:
        print(printable(rank_prefix() + text), file=stream, flush=True)
    except OSError:
        silence(stream)


def last_words(text: str) -> None:
    """Write a line to standard error before the process is ended from a thread: for a second, should nobody take it."""

    def write() -> None:
        with suppress(OSError):
            os.write(2, f"{printable(rank_prefix() + text)}\n".encode(errors="replace"))

    within_a_second(write)


def within_a_second(work: Callable[[], None]) -> None:
    """Do something that may never come back, and go on after a second."""
    thread = threading.Thread(target=work, daemon=True)
    with suppress(RuntimeError):  # no more threads are allowed: it is not done, and what comes after is
        thread.start()
        thread.join(1)


def silence(stream: TextIO) -> None:
    """Have nothing more written to a stream that cannot be written to: a closed pipe, a disk that is full."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def replace_closed_streams() -> None:
    """Standard streams that were closed before the process began lead nowhere: the next file opened would else be one of them."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def clock(seconds: float) -> str:
    """A time as people read it, `1:02:03`."""
    return str(timedelta(seconds=round(seconds)))


def numbered(count: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def rank_prefix() -> str:
    """`rank 1: ` in a process that is one of several, as Azure ML, torchrun or Open MPI say; nothing in one that is alone."""
    size = os.environ.get("WORLD_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or "1"
    rank = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK")
    return "" if size == "1" else f"rank {rank}: "


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """A picture that cannot be drawn is said and ends nothing: the work that it would show is done, and counts."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (matplotlib, Pillow and disks fail in their own ways)
        say(f"warning: {what} could not be made: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
