"""Jobs of real processes that faults are done to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
from conftest import make_image_directory, training_flags
from faults import tiny
from processes import Zygote, with_database

from designer_vision.formats.model_directory import Model, write_model_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.pipeline.processes import free_port

TIMEOUT = 8
"""Of the process group, in seconds: faults.md's T."""


class Job:
    """The processes of one training, without a launcher: what they do about a fault they do by themselves."""

    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        flags: dict[str, object],
        world: int,
        per_rank: dict[int, dict[str, str]],
        environment: dict[str, str],
    ) -> None:
        self.output = Path(str(flags["trained_model"]))
        self._zygote = zygote
        port = str(free_port())
        self.logs = [folder / f"log_{uuid.uuid4().hex[:8]}_{rank}" for rank in range(world)]
        self.pids: list[int] = []
        self.codes: dict[int, int] = {}
        for rank in range(world):
            own = per_rank.get(rank, {})
            if own.get("start") == "never":
                continue
            place = {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "WORLD_SIZE": str(world),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "NODE_RANK": "0",
            }
            common = {
                "DESIGNER_VISION_PROCESS_GROUP_TIMEOUT": str(TIMEOUT),
                "DESIGNER_VISION_CHECKPOINT_SECONDS": "0",
            }
            changed = flags | {name: value for name, value in own.items() if name in flags}
            variables = (
                {name: value for name, value in os.environ.items() if name not in ("MLFLOW_RUN_ID", *place)}
                | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
                | common
                | (place if world > 1 else {})
                | environment
                | {name: value for name, value in own.items() if name not in flags}
            )
            argv = [word for name, value in changed.items() for word in (f"--{name}", str(value))]
            words = ["faulty", "train_pytorch_model", *argv]
            self.pids.append(zygote.start(words, with_database(variables), folder, self.logs[rank], self.logs[rank]))

    def log(self, rank: int = 0) -> str:
        return self.logs[rank].read_text(errors="replace") if self.logs[rank].exists() else ""

    def until(self, condition: str | Callable[[], bool], rank: int = 0, seconds: float = 30) -> None:
        """Wait until a rank's log holds a text, or a condition is true."""
        deadline = time.monotonic() + seconds
        while not (condition in self.log(rank) if isinstance(condition, str) else condition()):
            assert time.monotonic() < deadline, f"waited in vain for {condition!r}:\n{self.log(rank)}"
            assert self.running(), f"ended before {condition!r}:\n{self.log(rank)}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals, rank: int = 0) -> None:
        os.kill(self.pids[rank], number)

    def running(self) -> list[int]:
        for pid in self.pids:
            if pid not in self.codes and (code := self._zygote.ask(poll=pid)) is not None:
                self.codes[pid] = code
        return [pid for pid in self.pids if pid not in self.codes]

    def end(self, seconds: float = 60) -> list[int]:
        """The exit codes, once all have ended within that time; none of their children is left."""
        deadline = time.monotonic() + seconds
        while self.running():
            assert time.monotonic() < deadline, "still running:\n" + "\n".join(self.log(rank) for rank in range(len(self.logs)))
            time.sleep(0.02)
        deadline = time.monotonic() + 2
        while self.alive():
            assert time.monotonic() < deadline, f"left behind: {self.alive()}"
            time.sleep(0.05)
        return [self.codes[pid] for pid in self.pids]

    def alive(self) -> list[int]:
        """All processes of the job: each rank began a session, which its workers stay in when the rank is gone."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z" and int(session) in self.pids:
                found.append(int(stat.parent.name))
        return found

    def workers(self, rank: int = 0) -> list[int]:
        return [int(child) for child in Path(f"/proc/{self.pids[rank]}/task/{self.pids[rank]}/children").read_text().split()]

    def kill(self) -> None:
        """Everything at once, as when a machine is lost."""
        for pid in [*self.pids, *self.alive()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.end(5)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Zygote:
    if sys.platform != "linux":
        pytest.skip("looks for a job's processes in /proc")
    return processes.zygote()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny untrained model, 48 images to train and 6 to validate."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "build", tiny.build)
        weights = tiny.build(None, builders.IMAGENET_CLASSES, 0).state_dict()
        write_model_directory(folder / "model", Model(Architecture("resnet18"), weights))
    training = make_image_directory(folder / "training", per_class=16)
    validation = make_image_directory(folder / "validation", per_class=2, first=100)
    return {"model": folder / "model", "training": training, "validation": validation}


StartJob = Callable[..., Job]


@pytest.fixture
def start(zygote: Zygote, inputs: dict[str, Path], tmp_path: Path) -> Iterator[StartJob]:
    """Starts a job: `world` processes, `ranks` with what some of them have of their own, flags, and environment variables in capitals."""
    jobs: list[Job] = []

    def start(
        output: Path | str = "out", world: int = 2, ranks: dict[int, dict[str, str]] | None = None, **changed: object
    ) -> Job:
        flags = training_flags(inputs["model"], inputs["training"], inputs["validation"], tmp_path / output)
        flags |= {"epochs": 3, "print_frequency": 1, "warmup_step_number": 1}
        flags |= {name: value for name, value in changed.items() if name in flags}
        environment = {name: str(value) for name, value in changed.items() if name not in flags}
        jobs.append(Job(zygote, tmp_path, flags, world, ranks or {}, environment))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.running() or job.alive():
            job.kill()


def outcome(output: Path) -> tuple[str, list[dict]]:
    """What two trainings of the same must have in common: the weights' bits and the metrics, but for timings."""
    weights = hashlib.sha256((output / "model").read_bytes()).hexdigest()
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    is_timing = re.compile("Seconds|images per second").search
    return weights, [{name: value for name, value in line.items() if not is_timing(name)} for line in lines]


@pytest.fixture(scope="session")
def whole(zygote: Zygote, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple]:
    """The outcome of an uninterrupted training, by number of ranks."""
    found: dict[int, tuple] = {}

    def whole(world: int = 2) -> tuple:
        if world not in found:
            folder = tmp_path_factory.mktemp(f"whole_{world}")
            flags = training_flags(inputs["model"], inputs["training"], inputs["validation"], folder / "out")
            job = Job(zygote, folder, flags | {"epochs": 3, "print_frequency": 1, "warmup_step_number": 1}, world, {}, {})
            assert job.end() == [0] * world, job.log()
            found[world] = outcome(folder / "out")
        return found[world]

    return whole
