"""Runs the trials of a sweep: ordinary steps in folders below the sweep's, which are proposed one after another.

<output_dir>/<step>/
  step.json                     the sweep's, with all its trials once it has finished
  proposals.json                what was drawn for each trial, so that a sweep that goes on keeps it
  trial_<n>/                    a step's folder, with its own step.json, outputs and user_logs
  outputs/<port>/               the best trial's: the same files under a second name
  sweep.html                    all trials for people
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from designer_vision.pipeline.experiment import Metrics
from designer_vision.pipeline.graph import Graph, Step
from designer_vision.pipeline.log import Figures, with_warning
from designer_vision.pipeline.run_folder import read_record, write_record
from designer_vision.pipeline.runner import RECORD, SEARCH, SIDE_BY_SIDE, Runner, Running, State, hash_of
from designer_vision.pipeline.sampling import propose
from designer_vision.pipeline.sweep import Drawn, Limits, Standing, Trial, trial_name
from designer_vision.pipeline.sweep_page import line_of, write_page
from designer_vision.runtime.errors import PipelineError

PROPOSALS, METRICS = "proposals.json", "metrics.jsonl"
SECONDS_BETWEEN_QUESTIONS = 1.0
"""To MLflow, for what a trial has reported by now."""
COMPARED = "how trials are compared"
"""What `made_of` calls the policy: under another one a trial might have been stopped, or not."""
MOST_NAMED = 20


@dataclass
class _Watched:
    """A trial, and what is known of it.

    Attributes:
        step: what runs.
        drawn: for it.
        trial: what is told of it.
        judged: intervals at which the policy has looked at it.
        names: of all metrics that it logged.
        asked: MLflow, and when, on the monotonic clock.
    """

    step: Step
    drawn: Drawn
    trial: Trial
    judged: int = 0
    names: tuple[str, ...] = ()
    asked: Future[Metrics] | None = None
    asked_at: float = 0.0


class Trials(Runner):
    """The trials of one sweep. The runner of the whole pipeline asks now and then whether they have finished."""

    def __init__(self, step: Step, whole: Runner) -> None:
        assert step.sweep is not None
        super().__init__(Graph(()), whole.folder, whole.experiment, lambda states: self._publish(), whole._say)
        self.step, self.sweep, self._whole = step, step.sweep, whole
        self._made_of = whole._made_of
        self._watched: dict[str, _Watched] = {}
        self._lines: list[str] = []
        self._phase = "running"
        self._began, self._is_exhausted = time.monotonic(), False
        self._at_a_time = 1 if step.is_for_many else min(self.sweep.limits.concurrent, SIDE_BY_SIDE)
        self._folder = self.folder / step.name
        self._folder.mkdir(parents=True, exist_ok=True)
        made_of = {name: text for name, text in self._made_of[step.name].items() if name != SEARCH}
        self._search = hash_of([made_of, asdict(replace(self.sweep, limits=Limits(0)))])
        record = read_record(self._folder / PROPOSALS)
        self._proposals: list[Drawn] = record["drawn"] if record.get("search") == self._search else []
        whole._record(step, finished=False)
        self.experiment.variables(step.name)
        self._publish()

    def have_finished(self) -> bool:
        """Look at the trials that run and start others; in the end, take the best.

        Raises:
            PipelineError: none has finished, or none reports the primary metric.
        """
        try:
            for running in list(self._running):
                self._look_at_running(running)
            while len(self._running) < self._at_a_time and (step := self._next()) is not None:
                if not self._is_reused(step):
                    self._running.append(self._start(step))
                elif self._watched[step.name].trial.phase == "finished":
                    self._refuse_without_metric(step.name)
            self._publish()
            if not self._running:
                self._finish()
        except PipelineError:
            self._phase = "failed"
            self._publish()
            self._whole._record(self.step, finished=False, failed=True)
            raise
        return not self._running

    # What comes next

    def _next(self) -> Step | None:
        """The next trial; None where there is none, or no time for one."""
        number = len(self._watched) + 1
        if self._is_exhausted or number > self.sweep.total or self._is_out_of_time():
            return None
        if number > len(self._proposals):
            value = self._standing().value
            before = [
                (each.drawn, value(each.trial) if each.trial.phase in ("finished", "stopped") else None)
                for each in self._watched.values()
            ]
            drawn = propose(self.sweep, before)
            if drawn is None:
                self._is_exhausted = True
                return None
            self._proposals.append(drawn)
            write_record(self._folder / PROPOSALS, {"search": self._search, "drawn": self._proposals})
        drawn = self._proposals[number - 1]
        values = self.sweep.texts(drawn)
        step = replace(self.step, name=trial_name(self.step.name, number), inputs={**self.step.inputs, **values}, sweep=None)
        self._watched[step.name] = _Watched(step, drawn, Trial(number, values))
        return step

    def _is_out_of_time(self) -> bool:
        return self.sweep.limits.timeout is not None and time.monotonic() - self._began > self.sweep.limits.timeout

    # What runs

    def _look_at_running(self, running: Running) -> None:
        watched = self._watched[running.step.name]
        try:
            ended = self._has_finished(running)
        except PipelineError as error:
            self._running.remove(running)
            self._end(watched, "failed", "; ".join([error.message, *(line.strip() for line in error.details[-2:])]))
            return
        if ended:
            self._running.remove(running)
            self._refuse_without_metric(running.step.name)
        elif why := self._reason_to_stop(watched):
            running.processes.end()
            self._running.remove(running)
            self._take_all(watched)
            self._tell(running.step, replace(self.states[running.step.name], phase="stopped", figures=running.logs.poll()))
            self._end(watched, "stopped", why)
            self._record(running.step, finished=False, stopped=why, seconds=watched.trial.seconds)

    def _end(self, watched: _Watched, phase: str, why: str = "") -> None:
        watched.trial = replace(watched.trial, phase=phase, why=why)
        self._lines.append(line_of(self._standing(), watched.trial))

    def _reason_to_stop(self, watched: _Watched) -> str:
        limits, policy = self.sweep.limits, self.sweep.policy
        if self._is_out_of_time():
            return "timeout"
        if limits.trial_timeout is not None and watched.trial.seconds > limits.trial_timeout:
            return "trial_timeout"
        if policy is None:
            return ""
        self._ask_now_and_then(watched)
        own, *others = (
            [self.sweep.objective.score(value) for value in each.trial.reported]
            for each in (watched, *(each for each in self._watched.values() if each is not watched))
            if each.trial.phase != "failed"
        )
        interval = policy.ends_at(own, others, watched.judged)
        watched.judged = len(own)
        return "" if interval is None else f"{policy.kind} at {interval}"

    def _ask_now_and_then(self, watched: _Watched) -> None:
        """Take MLflow's answer when it is there; nobody waits for it."""
        if watched.asked is not None and watched.asked.done():
            self._take(watched, self.experiment.answer(watched.asked))
            watched.asked = None
        if watched.asked is None and time.monotonic() - watched.asked_at > SECONDS_BETWEEN_QUESTIONS:
            watched.asked = self.experiment.ask(watched.step.name, self.sweep.objective.metric)
            watched.asked_at = time.monotonic()

    def _take(self, watched: _Watched, metrics: Metrics) -> None:
        watched.names = metrics.names or watched.names
        if len(metrics.values) > len(watched.trial.reported):
            watched.trial = replace(watched.trial, reported=metrics.values)

    def _take_all(self, watched: _Watched) -> None:
        """Take what a trial that has ended has reported: to MLflow or, where that has nothing, in its output."""
        asked = self.experiment.ask(watched.step.name, self.sweep.objective.metric)
        if asked is not None:
            self._take(watched, self.experiment.answer(asked))
        if not watched.trial.reported:
            self._take(watched, self._metrics_in_outputs(watched.step))

    def _metrics_in_outputs(self, step: Step) -> Metrics:
        files = [self.output(step.name, port) / METRICS for port in step.outputs]
        return next((read_metrics(file, self.sweep.objective.metric) for file in files if file.is_file()), Metrics())

    def _refuse_without_metric(self, name: str) -> None:
        """Refuse a metric that nobody reports, as soon as the first trial has finished.

        Raises:
            PipelineError: with those that there are.
        """
        if any(each.trial.reported for each in self._watched.values()):
            return
        names = self._watched[name].names
        some = ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
        raise PipelineError(
            f"{name} has finished and never reported {self.sweep.objective.metric!r}, the primary_metric of {self.step.name}; "
            + (f"it reported {some}" if names else "it reported no metrics to MLflow")
        )

    # What a runner does with a step, and here with a trial

    def _tell(self, step: Step, state: State) -> None:
        watched = self._watched[step.name]
        watched.trial = replace(watched.trial, seconds=state.seconds)
        if state.phase == "finished":
            self._take_all(watched)
        if state.phase in ("finished", "reused"):
            self._end(watched, "stopped" if watched.trial.why else "finished", watched.trial.why)
        elif state.phase == "stopped":
            watched.trial = replace(watched.trial, phase="stopped")
        super()._tell(step, state)

    def _is_reused(self, step: Step) -> bool:
        watched, record = self._watched[step.name], read_record(self.folder / step.name / RECORD)
        new, metric, reported = watched.trial, self.sweep.objective.metric, record.get("reported", {})
        values = reported.get(metric) or self._metrics_in_outputs(step).values
        if record.get("finished") and not values and metric not in reported:  # which it may have, and was not asked for
            self._clear(step)
        watched.names = tuple(record.get("metrics", ()))
        watched.trial = replace(new, reported=tuple(map(float, values)), why=str(record.get("stopped", "")))
        if not super()._is_reused(step):
            watched.trial = new
            return False
        return True

    def _has_ended(self, step: Step, record: Mapping[str, Any]) -> bool:
        by_policy = self.sweep.policy is not None and str(record.get("stopped")).startswith(self.sweep.policy.kind)
        return by_policy or super()._has_ended(step, record)

    def _record(self, step: Step, **more: Any) -> None:
        watched = self._watched[step.name]
        reported = {self.sweep.objective.metric: watched.trial.reported}
        super()._record(step, reported=reported, metrics=watched.names, **more)

    def _look_at(self, step: Step) -> dict[str, str]:
        if self.sweep.policy is None:
            return super()._look_at(step)
        return super()._look_at(step) | {COMPARED: hash_of([asdict(self.sweep.policy), asdict(self.sweep.objective)])}

    def _read_rest(self) -> None:
        self._phase = "stopped" if self._phase == "running" else self._phase
        super()._read_rest()
        with suppress(OSError, SystemExit):  # nobody may be left to read it
            self._publish()

    # The sweep as a step

    def _standing(self) -> Standing:
        return Standing(self.sweep.objective, self.sweep.total, tuple(each.trial for each in self._watched.values()))

    def _publish(self) -> None:
        """Tell the whole run how far the sweep is."""
        standing = self._standing()
        shown = [state for state in self.states.values() if state.phase == "running"][-1:]
        if not shown and standing.best is not None:
            shown = [self.states[trial_name(self.step.name, standing.best.number)]]
        warnings = (warning for state in self.states.values() for warning in state.figures.warnings)
        figures = replace(
            shown[0].figures if shown else Figures(),
            share=standing.ended / standing.total,
            left="",
            epochs=tuple(self._lines),
            warnings=reduce(with_warning, warnings, ()),
        )
        self._whole._tell(self.step, State(self._phase, time.monotonic() - self._began, figures, standing))

    def _finish(self) -> None:
        """Make the best trial's output the sweep's.

        Raises:
            PipelineError: no trial has finished.
        """
        standing = self._standing()
        if standing.best is None:
            first = next((trial.why for trial in standing.trials if trial.why), "there was no time for one")
            raise PipelineError(f"step {self.step.name}: none of {len(standing.trials)} trials has finished; the first: {first}")
        write_page(self._folder, self.step.name, standing)
        scratch = self._folder / "outputs.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        best = self.folder / trial_name(self.step.name, standing.best.number)
        shutil.copytree(best / "outputs", scratch, symlinks=True, copy_function=link_or_copy)
        shutil.rmtree(self._folder / "outputs", ignore_errors=True)
        scratch.rename(self._folder / "outputs")
        for folder in self._folder.glob("trial_*"):
            if trial_name(self.step.name, 0)[:-1] + folder.name.removeprefix("trial_") not in self._watched:
                shutil.rmtree(folder, ignore_errors=True)  # of an earlier run with more trials
        self._phase = "finished"
        self._publish()
        state = self._whole.states[self.step.name]
        figures = {name: getattr(state.figures, name) for name in ("images_per_second", "loss", "top1", "warnings")}
        self._whole._record(self.step, finished=True, seconds=state.seconds, sweep=asdict(standing), **figures)


def read_metrics(path: Path, metric: str) -> Metrics:
    """The metrics that a component left in its output, a JSON object a line, as Train PyTorch Model does."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        values = tuple(float(line[metric]) for line in lines if metric in line)
        return Metrics(values, tuple(sorted({name for line in lines for name in line} - {"step"})))
    except (OSError, ValueError, TypeError):
        return Metrics()


def link_or_copy(source: str, target: str) -> None:
    """A second name of the same file or, where a file system has none, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
