from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.watched import OffenceError, watched


@pytest.mark.parametrize(
    "deed",
    [
        lambda: Path("/etc/passwd").read_text(),
        lambda: Path("outside").read_text(),
        lambda: subprocess.run(["true"]),
        lambda: socket.create_connection(("127.0.0.1", 1)),
        lambda: __import__("this"),
        lambda: Path("outside").unlink(),
    ],
    ids=["open", "open a link", "start", "connect", "import", "remove"],
)
def test_what_no_reader_may_do_is_seen(tmp_path: Path, deed: Callable[[], object]) -> None:
    (tmp_path / "outside").symlink_to("/etc/passwd")
    with pytest.raises(OffenceError), watched(tmp_path), contextlib.suppress(OSError):
        deed()


def test_reading_inside_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with watched(tmp_path):
        assert (tmp_path / "a").read_text() == "x"
