"""Real processes that tests start, without the seconds that each would import the same for."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parent
SOURCES = str(TESTS.parent / "src")
POLL_SECONDS = 0.01


class Zygote:
    """A process that has everything imported, and becomes those that are started; it ends with this one."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": f"{SOURCES}:{TESTS}"}
        if find_spec("sqlalchemy"):
            environment["EMPTY_DATABASE"] = str(tracking_database())
        words = [sys.executable, str(TESTS / "zygote.py")]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, **request: object) -> int | None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process that others are forked from ended with {self._process.wait()}"
        return json.loads(answer)

    def start(self, words: Sequence[object], environment: Mapping[str, str], folder: Path, out: Path, err: Path) -> int:
        """The number of a new process; what it writes is added to the files."""
        started = self.ask(words=[*map(str, words)], env=dict(environment), folder=str(folder), out=str(out), err=str(err))
        assert started
        return started

    def end(self, number: int) -> None:
        """End a process, which has some seconds to end those that it started."""
        for last in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(number, last)
            for _ in range(500):
                if self.ask(poll=number) is not None:
                    return
                time.sleep(POLL_SECONDS)


@cache
def zygote() -> Zygote:
    """The one of this process."""
    return Zygote()


def run_cold(
    words: Sequence[object], environment: Mapping[str, str], folder: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a component, or `designer-vision`, in a new interpreter."""
    program, *flags = map(str, words)
    is_command = program == "designer-vision"
    begin = (
        [str(Path(sys.executable).parent / program)] if is_command else [sys.executable, "-m", f"designer_vision.entry.{program}"]
    )
    return subprocess.run([*begin, *flags], env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds)


def run_words(
    words: Sequence[object], environment: Mapping[str, str], folder: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a component (`words` begin with its name) or `designer-vision` to its end, as subprocess.run does.

    Raises:
        subprocess.TimeoutExpired: it took longer; it is ended, with what it started in its group.
    """
    if sys.platform != "linux":  # what macOS brings does not survive a fork
        return run_cold(words, environment, folder, seconds)
    with tempfile.TemporaryDirectory() as streams:
        out, err = Path(streams, "out"), Path(streams, "err")
        parent = zygote()
        number = parent.start(words, environment, folder, out, err)
        deadline = time.monotonic() + seconds
        try:
            while (code := parent.ask(poll=number)) is None:
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired([*map(str, words)], seconds, out.read_text(), err.read_text())
                time.sleep(POLL_SECONDS)
        except BaseException:
            parent.end(number)
            raise
        return subprocess.CompletedProcess([*map(str, words)], code, out.read_text(), err.read_text())


@cache
def tracking_database() -> Path:
    """An MLflow database in which nothing is logged: to make one takes MLflow seconds."""
    path = Path(tempfile.mkdtemp(), "mlflow.db")
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    make = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run([sys.executable, "-c", make, f"sqlite:///{path}"], check=True, capture_output=True)
    return path


def with_database(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, in which the database that its MLFLOW_TRACKING_URI names is there."""
    path = environment.get("MLFLOW_TRACKING_URI", "").removeprefix("sqlite:///")
    if find_spec("sqlalchemy") and path.endswith(".db") and not Path(path).exists():
        shutil.copy(tracking_database(), path)
    return dict(environment)
