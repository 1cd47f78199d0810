"""Runs a graph on this machine: its steps one after another, each in its own folder, finished ones only once.

<output_dir>/
  pipeline.json                 marks the folder as a run's; what it ran
  mlflow.db, mlflow_artifacts/  metrics, unless MLFLOW_TRACKING_URI leads elsewhere
  <step>/
    step.json                   what it ran with, and whether it finished
    outputs/<port>/             what it wrote
    user_logs/                  one file a process
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from designer_vision.directories.manifest import MANIFEST, UNFINISHED
from designer_vision.errors import PipelineError
from designer_vision.pipeline.command import fill, split
from designer_vision.pipeline.experiment import Experiment
from designer_vision.pipeline.graph import Graph, OutputOf, Step
from designer_vision.pipeline.log import Figures, Log
from designer_vision.pipeline.processes import Failure, Processes, free_port, log_names, rank_variables

MARK = "pipeline.json"
RECORD = "step.json"
REPORT = "report.html"
OPERATOR_VARIABLES = "DESIGNER_VISION_"
WITHOUT_EFFECT = ("PROFILE", "DEBUG", "CHECKPOINT_SECONDS", "START_TIMEOUT", "PROCESS_GROUP_TIMEOUT")
"""On what a step writes: setting one of these throws away nothing that an earlier run left."""
RECORDED = ("images_per_second", "loss", "top1")
"""Figures of a finished step, to be shown again when it is reused."""


@dataclass(frozen=True)
class State:
    """Where a step stands.

    Attributes:
        phase: waiting, running, finished, reused or failed.
        seconds: how long it ran, this time or, when reused, then.
        figures: what its main process's log says.
    """

    phase: str = "waiting"
    seconds: float = 0.0
    figures: Figures = field(default_factory=Figures)


States = dict[str, State]


class Runner:
    """One run of a graph in an output folder; `show` is called with all states whenever one changes."""

    def __init__(self, graph: Graph, folder: Path, experiment: Experiment, show: Callable[[States], None]) -> None:
        self.graph, self.folder, self.experiment, self._show = graph, folder.absolute(), experiment, show
        self.states: States = {step.name: State() for step in graph.steps}
        self._fingerprints: dict[str, str] = {}

    def run(self) -> None:
        """Run what has not finished yet.

        Raises:
            PipelineError: a step failed; with the first error and its log's path.
        """
        try:
            for step in self.graph.steps:
                self._run_or_reuse(step)
        finally:
            self.experiment.close({name: state.phase in ("finished", "reused") for name, state in self.states.items()})

    def output(self, step: str, port: str) -> Path:
        """The folder that a step writes for an output."""
        return self.folder / step / "outputs" / port

    def _run_or_reuse(self, step: Step) -> None:
        fingerprint = self._fingerprint(step)
        self._fingerprints[step.name] = fingerprint
        record = _read_record(self.folder / step.name / RECORD)
        same = record.get("fingerprint") == fingerprint
        if same and ((record.get("finished") and self._has_outputs(step)) or self._ended_unrecorded(step)):
            figures: dict[str, Any] = {name: record.get(name) for name in RECORDED}
            self._tell(step, State("reused", record.get("seconds", 0.0), Figures(**figures)))
            return
        if not (same and self._is_unfinished(step)):  # what a stopped step left it may know how to use
            shutil.rmtree(self.folder / step.name, ignore_errors=True)
        self._run(step, fingerprint)

    def _has_outputs(self, step: Step) -> bool:
        folders = [self.output(step.name, port) for port in step.outputs]
        return all(folder.is_dir() and any(folder.iterdir()) for folder in folders)

    def _ended_unrecorded(self, step: Step) -> bool:
        """Whether the run was killed between a step's end and its record: a folder of ours has its manifest only in the end."""
        folders = [self.output(step.name, port) for port in step.outputs]
        return bool(folders) and all((folder / MANIFEST).exists() for folder in folders) and not self._is_unfinished(step)

    def _is_unfinished(self, step: Step) -> bool:
        return any((self.output(step.name, port) / UNFINISHED).exists() for port in step.outputs)

    def _run(self, step: Step, fingerprint: str) -> None:
        folder = self.folder / step.name
        logs = [folder / "user_logs" / name for name in log_names(step.instance_count * step.process_count)]
        logs[0].parent.mkdir(parents=True, exist_ok=True)
        for port in step.outputs:
            self.output(step.name, port).mkdir(parents=True, exist_ok=True)
        _write_record(folder / RECORD, {"fingerprint": fingerprint, "finished": False})
        before = self._listings(step)
        words = split(fill(step.command, self._texts(step), {port: str(self.output(step.name, port)) for port in step.outputs}))
        shared = {**os.environ, **_python_path(), **self.experiment.variables(step.name), **step.environment_variables}
        environments = [shared | own for own in rank_variables(step, free_port())]
        start, log = time.monotonic(), Log(logs[0])

        def poll() -> None:
            self._tell(step, State("running", time.monotonic() - start, log.poll()))

        self._tell(step, State("running"))
        try:
            with Processes(words, environments, logs, step.code) as processes:
                failure = processes.wait(poll)
        except FileNotFoundError as error:
            raise PipelineError(f"step {step.name} cannot start: {error.filename} is not on this machine") from error
        state = State("failed" if failure else "finished", time.monotonic() - start, log.poll())
        self._tell(step, state)
        if failure:
            raise describe_failure(step, failure)
        changed = [name for name, listing in self._listings(step).items() if listing != before[name]]
        if changed:
            raise PipelineError(
                f"step {step.name} wrote to its input {changed[0]}, which Azure ML mounts read-only; let it write to its outputs"
            )
        recorded = {name: getattr(state.figures, name) for name in RECORDED}
        _write_record(folder / RECORD, {"fingerprint": fingerprint, "finished": True, "seconds": state.seconds, **recorded})

    def _tell(self, step: Step, state: State) -> None:
        self.states[step.name] = state
        self._show(self.states)

    def _texts(self, step: Step) -> dict[str, str]:
        return {
            name: str(self.output(value.step, value.output)) if isinstance(value, OutputOf) else str(value)
            for name, value in step.inputs.items()
        }

    def _listings(self, step: Step) -> dict[str, list[tuple[str, int, int]]]:
        """What lies in the folders that a step reads, by input."""
        folders = {name: Path(self._texts(step)[name]) for name, value in step.inputs.items() if not isinstance(value, str)}
        return {name: list(_listing(folder)) for name, folder in folders.items()}

    def _fingerprint(self, step: Step) -> str:
        """A hash of all that decides a step's output: command, values, code, and the fingerprints of what it reads."""
        inputs: dict[str, list[Any]] = {}
        for name, value in sorted(step.inputs.items()):
            if isinstance(value, OutputOf):
                inputs[name] = [self._fingerprints[value.step], value.output]
            elif isinstance(value, Path):
                if not value.exists():
                    raise PipelineError(f"input {name} of step {step.name}: {value} does not exist")
                inputs[name] = [str(value), *_listing(value)]
            else:
                inputs[name] = [value]
        left_out = {OPERATOR_VARIABLES + name for name in WITHOUT_EFFECT}
        own = {name: os.environ[name] for name in os.environ if name.startswith(OPERATOR_VARIABLES) and name not in left_out}
        content = asdict(replace(step, inputs={}, code=Path())) | {"inputs": inputs, "code": _code_hash(step.code), "own": own}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def prepare_folder(folder: Path, pipeline: Path) -> None:
    """Make the output folder, or take one that an earlier run of the runner left.

    Raises:
        PipelineError: it holds something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / MARK).exists():
            raise PipelineError(f"{folder} is not empty and not the folder of an earlier run; give another --output_dir")
        (folder / MARK).write_text(json.dumps({"pipeline": str(pipeline.absolute())}))
    except OSError as error:
        raise PipelineError(f"{folder} cannot be written: {error.strerror}") from error


def describe_failure(step: Step, failure: Failure) -> PipelineError:
    """The first error of a failed step with a few lines: its own error line if it has one, else the end of its log."""
    lines = failure.log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if re.match(r"(rank \d+: )?Error\b", line)]
    shown = errors[-1:] or [line for line in lines if line.strip()][-10:]
    return PipelineError(
        f"step {step.name} failed ({failure.cause})", *(f"  {line}" for line in shown), f"its log: {failure.log}"
    )


def _python_path() -> dict[str, str]:
    """PATH with this Python first, so that a command's `python` is the one that has the packages."""
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}


def _read_record(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    """In one go, so that a run that is killed leaves the old record or the new one."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record))
    scratch.replace(path)


def _listing(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file, which tell whether data changed without reading it."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        status = file.stat()
        yield str(file.relative_to(path)), status.st_size, status.st_mtime_ns


def _code_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def result_line(steps: Sequence[Step], runner: Runner) -> str | None:
    """`top-1 98.3 %` where a step left an evaluation's metrics.json."""
    for step in reversed(steps):
        for port in step.outputs:
            path = runner.output(step.name, port) / "metrics.json"
            metrics = _read_record(path).get("metrics")
            if isinstance(metrics, dict) and isinstance(metrics.get("Overall accuracy"), float):
                return f"top-1 {100 * metrics['Overall accuracy']:.1f} %"
    return None


def reports(steps: Sequence[Step], runner: Runner) -> list[Path]:
    """The pages that steps have written for people, in their order."""
    pages = [runner.output(step.name, port) / REPORT for step in steps for port in step.outputs]
    return [page for page in pages if page.is_file()]
