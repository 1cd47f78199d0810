"""What a reader does behind our back: files opened outside its folder, modules imported, sockets, processes, files removed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "import", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.",
    "ctypes.dlopen", "ctypes.dlsym", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown",
    "os.truncate", "shutil.", "pickle.find_class", "marshal.", "webbrowser.", "urllib.", "ftplib.", "http.", "smtplib.",
)  # fmt: skip
HARMLESS = ("/proc/self/mountinfo",)
"""Says what kind of file system a folder is on."""
_root: str | None = None
_offences: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _root is None:
        return
    if event == "open":
        path = arguments[0]
        if (
            isinstance(path, (str, bytes))
            and os.fsdecode(path) not in HARMLESS
            and not os.path.realpath(os.fsdecode(path)).startswith(_root)
        ):
            _offences.append(f"open {path!r}")
    elif event.startswith(FORBIDDEN):
        _offences.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)


class OffenceError(AssertionError):
    """Something was done that no reader may do."""


@contextmanager
def watched(root: Path) -> Iterator[None]:
    """Fail where the block opens a file outside `root`, imports, connects, starts or removes anything."""
    global _root
    _offences.clear()
    _root = os.path.realpath(root)
    try:
        yield
    finally:
        _root = None
    if _offences:
        raise OffenceError("; ".join(_offences[:5]))
