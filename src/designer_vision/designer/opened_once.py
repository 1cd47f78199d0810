"""One designer a file: a second one is told where the first one is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

from designer_vision.runtime.errors import PipelineError


class OpenedElsewhereError(PipelineError):
    """Another designer has the file open."""


class OpenedOnce:
    """Holds a file for one designer, as long as its process lives.

    Args:
        file: the pipeline.
        address: of this designer's page, with its token: a file that nobody else can read has it.

    Raises:
        OpenedElsewhereError: another one holds it; with its address.
    """

    def __init__(self, file: Path, address: str) -> None:
        name = hashlib.sha256(str(file.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
        self._lock = os.fdopen(os.open(_own_folder() / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = self._lock.read(500).strip()
            self._lock.close()
            raise OpenedElsewhereError(f"{file} is open already; go to {other or 'the other window'}") from error
        self._lock.truncate(0)
        self._lock.write(address)
        self._lock.flush()

    def close(self) -> None:
        """Let others open the file."""
        self._lock.truncate(0)
        self._lock.close()


def _own_folder() -> Path:
    """A folder that only this user can look into.

    Raises:
        PipelineError: somebody else made it.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not os.access(runtime, os.W_OK | os.X_OK):  # gone, or that of the user who became this one by su
        runtime = Path(tempfile.gettempdir())
    folder = runtime / f"designer_vision_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PipelineError(f"{folder} is not this user's alone; remove it, or set XDG_RUNTIME_DIR")
    return folder
