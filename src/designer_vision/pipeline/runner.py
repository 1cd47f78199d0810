"""Runs a graph on this machine: its steps one after another, each in its own folder, finished ones only once.

<output_dir>/
  pipeline.json                 marks the folder as a run's; what it ran, and with which inputs
  run.lock                      held by the run that is going on, with its process
  mlflow.db, mlflow_artifacts/  metrics, unless MLFLOW_TRACKING_URI leads elsewhere
  <step>/
    step.json                   what it ran with, and whether it finished
    outputs/<port>/             what it wrote
    user_logs/                  one file a process
    trial_<n>/                  of a sweep: the same for each of its trials
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from designer_vision.formats.manifest import MANIFEST, UNFINISHED
from designer_vision.pipeline.command import fill, split
from designer_vision.pipeline.experiment import Experiment
from designer_vision.pipeline.graph import Graph, OutputOf, Step
from designer_vision.pipeline.log import Figures, Logs
from designer_vision.pipeline.processes import Failure, Processes, end_all, free_port, log_names, rank_variables
from designer_vision.pipeline.run_folder import read_record, write_record
from designer_vision.pipeline.sweep import Standing, trial_name
from designer_vision.runtime.errors import PipelineError

if TYPE_CHECKING:
    from designer_vision.pipeline.trials import Trials

RECORD = "step.json"
SIDE_BY_SIDE = 2
"""Steps at most: they spend much of their time on one core, loading their libraries."""
POLL_SECONDS = 0.1
MODEL = "model_spec.yaml"
OPERATOR_VARIABLES = "DESIGNER_VISION_"
WITHOUT_EFFECT = ("PROFILE", "DEBUG", "CHECKPOINT_SECONDS", "START_TIMEOUT", "PROCESS_GROUP_TIMEOUT")
"""On what a step writes: setting one of these throws away nothing that an earlier run left."""
RECORDED = ("images_per_second", "loss", "top1", "warnings")
"""Figures of a finished step, to be shown again when it is reused."""


@dataclass(frozen=True)
class State:
    """Where a step stands.

    Attributes:
        phase: waiting, running, finished, reused, failed, or stopped as another one failed or the run was interrupted.
        seconds: how long it ran, this time or, when reused, then.
        figures: what its main process's log says; of a sweep, what its trials' logs do.
        sweep: how far the trials are, where it is a sweep that has begun.
    """

    phase: str = "waiting"
    seconds: float = 0.0
    figures: Figures = field(default_factory=Figures)
    sweep: Standing | None = None


States = dict[str, State]


@dataclass(frozen=True)
class Running:
    """A step that was started.

    Attributes:
        step: what runs.
        processes: its processes.
        logs: of all of them.
        began: on the monotonic clock.
        listings: of the folders that it reads, before it began.
    """

    step: Step
    processes: Processes
    logs: Logs
    began: float
    listings: Mapping[str, list[tuple[str, int, int]]]


class Runner:
    """One run of a graph in an output folder.

    `show` is called with all states whenever one changes, `say` with what else a person should know.
    """

    def __init__(
        self, graph: Graph, folder: Path, experiment: Experiment, show: Callable[[States], None], say: Callable[[str], None]
    ) -> None:
        self.graph, self.folder, self.experiment, self._show, self._say = graph, folder.absolute(), experiment, show, say
        self.states: States = {step.name: State() for step in graph.steps}
        self._made_of: dict[str, dict[str, str]] = {}
        self._running: list[Running] = []
        self._sweeps: list[Trials] = []

    def run(self) -> None:
        """Run what has not finished yet: each step when all that it reads is there, two small ones side by side.

        Raises:
            PipelineError: a step failed, and what ran beside it was ended; with the first error and its log's path.
        """
        waiting = list(self.graph.steps)
        try:
            while waiting or self._running or self._sweeps:
                for step in list(waiting):
                    if self._may_start(step):
                        waiting.remove(step)
                        self._begin(step)
                self._running = [each for each in self._running if not self._has_finished(each)]
                self._sweeps = [sweep for sweep in self._sweeps if not sweep.have_finished()]
                if self._running or self._sweeps:
                    time.sleep(POLL_SECONDS)
        finally:
            runners = [self, *self._sweeps]
            try:
                end_all([each.processes for runner in runners for each in runner._running])
            finally:
                for runner in runners:
                    runner._read_rest()
                self.experiment.close(
                    {name: state.phase in ("finished", "reused") for name, state in self.states.items()},
                    {
                        trial_name(name, trial.number): trial.phase
                        for name, state in self.states.items()
                        if state.sweep
                        for trial in state.sweep.trials
                    },
                )

    def _may_start(self, step: Step) -> bool:
        """Whether all that a step reads is there, and the machine has room for it beside what runs."""
        if any(self.states[name].phase not in ("finished", "reused") for name in step.needs):
            return False
        steps = [each.step for each in self._running] + [sweep.step for sweep in self._sweeps]
        return not steps or (len(steps) < SIDE_BY_SIDE and not any(each.takes_all for each in [step, *steps]))

    def _begin(self, step: Step) -> None:
        if self._is_reused(step):
            return
        if step.sweep is None:
            self._running.append(self._start(step))
        else:
            from designer_vision.pipeline.trials import Trials  # which are run by a runner of their own

            self._sweeps.append(Trials(step, self))

    def output(self, step: str, port: str) -> Path:
        """The folder that a step writes for an output."""
        return self.folder / step / "outputs" / port

    def _is_reused(self, step: Step) -> bool:
        """Take what an earlier run finished; where it cannot be taken, it is removed."""
        made_of = self._made_of[step.name] = self._look_at(step)
        fingerprint = hash_of(made_of)
        record = read_record(self.folder / step.name / RECORD)
        same = record.get("fingerprint") == fingerprint
        if same and self._has_ended(step, record):
            figures: dict[str, Any] = {name: record[name] for name in RECORDED if record.get(name) is not None}
            figures["warnings"] = tuple(map(str, figures.get("warnings", ())))
            sweep = msgspec.convert(record["sweep"], Standing) if "sweep" in record else None
            self._tell(step, State("reused", record.get("seconds", 0.0), Figures(**figures), sweep))
            return True
        if record.get("finished") and (changes := changes_between(record.get("made_of"), made_of, self._has_model(step))):
            consequence = "trials that are still the same are kept" if step.sweep else "what it had finished is replaced"
            self._say(f"{step.name}: {', '.join(changes)}: {consequence}")
        if not (same and self._is_unfinished(step)):  # what a stopped step left it may know how to use
            self._clear(step)
        return False

    def _has_ended(self, step: Step, record: Mapping[str, Any]) -> bool:
        """Whether an earlier run has left all of a step's output."""
        if record.get("finished"):
            return self._has_outputs(step)
        return step.sweep is None and not record.get("failed") and self._ended_unrecorded(step)

    def _clear(self, step: Step) -> None:
        """Remove what an earlier run left of a step; the trials of a sweep look at what they have themselves."""
        left = self.folder / step.name
        shutil.rmtree(left if step.sweep is None else left / "outputs", ignore_errors=True)

    def _has_model(self, step: Step) -> bool:
        return any((self.output(step.name, port) / MODEL).exists() for port in step.outputs)

    def _has_outputs(self, step: Step) -> bool:
        folders = [self.output(step.name, port) for port in step.outputs]
        return all(folder.is_dir() and any(folder.iterdir()) for folder in folders)

    def _ended_unrecorded(self, step: Step) -> bool:
        """Whether the run was killed between a step's end and its record: a folder of ours has its manifest only in the end."""
        folders = [self.output(step.name, port) for port in step.outputs]
        return bool(folders) and all((folder / MANIFEST).exists() for folder in folders) and not self._is_unfinished(step)

    def _is_unfinished(self, step: Step) -> bool:
        return any((self.output(step.name, port) / UNFINISHED).exists() for port in step.outputs)

    def _start(self, step: Step) -> Running:
        folder = self.folder / step.name
        logs = [folder / "user_logs" / name for name in log_names(step.instance_count * step.process_count)]
        logs[0].parent.mkdir(parents=True, exist_ok=True)
        for port in step.outputs:
            self.output(step.name, port).mkdir(parents=True, exist_ok=True)
        self._record(step, finished=False)
        before = self._listings(step)
        words = split(fill(step.command, self._texts(step), {port: str(self.output(step.name, port)) for port in step.outputs}))
        shared = {**os.environ, **_python_path(), **self.experiment.variables(step.name), **step.environment_variables}
        environments = [shared | own for own in rank_variables(step, free_port())]
        self._tell(step, State("running"))
        try:
            processes = Processes(words, environments, logs, step.code)
        except FileNotFoundError as error:
            self._tell(step, State("failed"))
            raise PipelineError(f"step {step.name} cannot start: {error.filename} is not on this machine") from error
        return Running(step, processes, Logs(logs), time.monotonic(), before)

    def _has_finished(self, running: Running) -> bool:
        """Tell how far a step is.

        Raises:
            PipelineError: it failed, or wrote to its inputs.
        """
        step, failure = running.step, running.processes.failure()
        have_ended = failure is not None or running.processes.have_ended()
        if have_ended:
            running.processes.end()
        listings = self._listings(step) if have_ended and not failure else running.listings
        changed = [name for name, listing in listings.items() if listing != running.listings[name]]
        phase = "failed" if failure or changed else "finished" if have_ended else "running"
        state = State(phase, time.monotonic() - running.began, running.logs.poll())
        self._tell(step, state)
        if not have_ended:
            return False
        if phase == "failed":
            self._record(step, finished=False, failed=True)
        if failure:
            raise describe_failure(step, failure)
        if changed:
            raise PipelineError(
                f"step {step.name} wrote to its input {changed[0]}, which Azure ML mounts read-only; let it write to its outputs"
            )
        self._record(step, finished=True, seconds=state.seconds, **{name: getattr(state.figures, name) for name in RECORDED})
        return True

    def _read_rest(self) -> None:
        """Show what the steps that were ended said until then, such as their warnings."""
        for running in self._running:
            with suppress(OSError, SystemExit):  # nobody may be left to read it
                state = self.states[running.step.name]
                phase = "stopped" if state.phase == "running" else state.phase
                self._tell(running.step, replace(state, phase=phase, figures=running.logs.poll()))

    def _record(self, step: Step, **more: Any) -> None:
        made_of = self._made_of[step.name]
        write_record(self.folder / step.name / RECORD, {"fingerprint": hash_of(made_of), "made_of": made_of, **more})

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

    def _look_at(self, step: Step) -> dict[str, str]:
        """All that decides a step's output: its parameters as they are, and hashes of the rest."""
        left_out = {OPERATOR_VARIABLES + name for name in WITHOUT_EFFECT}
        own = {name: os.environ[name] for name in os.environ if name.startswith(OPERATOR_VARIABLES) and name not in left_out}
        command = asdict(replace(step, inputs={}, code=Path()))
        sweep = command.pop("sweep")
        made_of = {CODE: _code_hash(step.code), COMMAND: hash_of(command), VARIABLES: hash_of(own)}
        if sweep is not None:
            made_of[SEARCH] = hash_of(sweep)
        for name, value in sorted(step.inputs.items()):
            if isinstance(value, OutputOf):
                made_of[name] = f"{FROM}{value.step}: {value.output} {hash_of(self._made_of[value.step])}"
            elif isinstance(value, Path):
                if not value.exists():
                    raise PipelineError(f"input {name} of step {step.name}: {value} does not exist")
                made_of[name] = f"{FILES}{value}: {hash_of(list(_listing(value)))}"
            else:
                made_of[name] = value
        return made_of


CODE, COMMAND, VARIABLES, SEARCH = "its code", "its command", "the operator's variables", "its search"
FROM, FILES = "from step ", "files of "
"""What `Runner._look_at` calls what is no parameter."""


def changes_between(before: Any, now: Mapping[str, str], even_of_others: bool) -> list[str]:
    """What became different between two runs of a step, in words.

    Args:
        before: what `step.json` recorded; anything else is a record of an older version.
        now: what it is made of now.
        even_of_others: whether to tell of changes that are another step's.
    """
    if not isinstance(before, dict):
        return ["it changed"]
    told = []
    for name in sorted(before.keys() | now.keys()):
        old, new = str(before.get(name, "none")), now.get(name, "none")
        if old == new:
            continue
        if new.startswith(FROM):
            told += [f"what it reads from {new.removeprefix(FROM).partition(':')[0]} changed"] if even_of_others else []
        elif name in (CODE, COMMAND, VARIABLES, SEARCH):
            told.append(f"{name} changed")
        elif new.startswith(FILES):
            told.append(f"the files of {name} changed")
        else:
            told.append(f"{name} {old[:100]} -> {new[:100]}")
    return told


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


def _listing(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file, which tell whether data changed without reading it."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        status = file.stat()
        yield str(file.relative_to(path)), status.st_size, status.st_mtime_ns


def hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _code_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
