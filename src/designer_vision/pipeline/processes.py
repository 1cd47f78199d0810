"""The processes of one step, started as Azure ML starts them, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from designer_vision.pipeline.graph import Step
from designer_vision.runtime.settings import RUNNER

GRACE_SECONDS, GRACE_AFTER_FAILURE_SECONDS = 15, 3
"""For what still runs to end by itself: longer where it may have something to save."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Failure:
    """The first process that ended badly.

    Attributes:
        exit_code: its exit code; -n where signal n ended it.
        log: its output.
    """

    exit_code: int
    log: Path

    @property
    def cause(self) -> str:
        """What the exit code says."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        name = signal.Signals(-self.exit_code).name
        return f"ended by {name}" + (", often for lack of memory" if name == "SIGKILL" else "")


def rank_variables(step: Step, port: int) -> list[dict[str, str]]:
    """The variables that tell each process its place: Azure's for `pytorch`, Open MPI's for `mpi`, none for one alone."""
    size = step.instance_count * step.process_count
    places = [(node, local) for node in range(step.instance_count) for local in range(step.process_count)]
    if step.distribution == "pytorch":
        return [
            {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(size),
                "NODE_RANK": str(node),
                "RANK": str(node * step.process_count + local),
                "LOCAL_RANK": str(local),
            }
            for node, local in places
        ]
    if step.distribution == "mpi":
        return [
            {
                "AZ_BATCH_MASTER_NODE": "127.0.0.1:6000",
                "MASTER_PORT": str(port),
                "OMPI_COMM_WORLD_SIZE": str(size),
                "OMPI_COMM_WORLD_RANK": str(node * step.process_count + local),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(local),
                "OMPI_COMM_WORLD_LOCAL_SIZE": str(step.process_count),
            }
            for node, local in places
        ]
    return [{} for _ in places]


def log_names(count: int) -> list[str]:
    """The logs' names, as Azure ML shows them under user_logs."""
    return ["std_log.txt"] if count == 1 else [f"std_log_process_{number}.txt" for number in range(count)]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Processes:
    """The processes of one step. As a context manager it leaves none of them, nor of their children, alive."""

    def __init__(
        self, words: Sequence[str], environments: Sequence[Mapping[str, str]], logs: Sequence[Path], folder: Path
    ) -> None:
        self._logs = logs
        self.running: list[subprocess.Popen[bytes]] = []
        self.grace = GRACE_SECONDS
        try:
            for environment, log in zip(environments, logs, strict=True):
                with log.open("wb") as output:
                    self.running.append(
                        subprocess.Popen(
                            list(words),
                            env={**environment, RUNNER: str(os.getpid())},
                            cwd=folder,
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,  # one process group each, so that data workers end with it
                        )
                    )
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def failure(self) -> Failure | None:
        """The first that has ended badly by now."""
        for process, log in zip(self.running, self._logs, strict=True):
            if code := process.poll():
                self.grace = GRACE_AFTER_FAILURE_SECONDS
                return Failure(code, log)
        return None

    def have_ended(self) -> bool:
        """Whether all have ended, well or not."""
        return all(process.poll() is not None for process in self.running)

    def end(self) -> None:
        """End what still runs."""
        end_all([self])


def end_all(steps: Sequence[Processes]) -> None:
    """End what still runs of several steps: all are asked first, and killed when their time is over."""
    processes = [process for step in steps for process in step.running]
    try:
        alive = [process for process in processes if process.poll() is None]
        _signal(signal.SIGTERM, alive)
        _signal(signal.SIGCONT, alive)  # one that somebody stopped hears nothing else
        deadline = time.monotonic() + max((step.grace for step in steps), default=0)
        while time.monotonic() < deadline and any(process.poll() is None for process in alive):
            time.sleep(POLL_SECONDS)
    finally:  # also when a second Ctrl-C cuts the wait short
        _signal(signal.SIGKILL, processes)
        for process in processes:
            process.wait()


def _signal(number: signal.Signals, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the whole group has ended
            os.killpg(process.pid, number)
