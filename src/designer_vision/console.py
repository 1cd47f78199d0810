"""Lines for people to read: whatever a folder's names contain, one message is one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with all that is not seen (control characters, line ends, turned writing directions) as escapes.

    A file's or a class's name could otherwise forge lines of the log, or hide some.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def say(text: str) -> None:
    """Print one line to the log."""
    print(printable(text), flush=True)
