"""What a run tells, as JSON lines for programs: the same that a person sees, one object a line, each with its `event`.

    {"event": "run", "pipeline": …, "folder": …, "process": …, "steps": [names, in the order in which they can run]}
    {"event": "remark", "text": …}         what is allowed and may not be meant, or why something finished is run again
    {"event": "step", "step": …, "phase": …, "seconds": …, "share": …, "images_per_second": …, "loss": …, "top1": …, "left": …,
     "last_line": …, "warnings": […]}      where a step stands: when it changes, and every second while it runs
    {"event": "epoch", "step": …, "epoch": …, "epochs": …, "train_loss": …, "valid_loss": …, "top1": …}
    {"event": "trial", "step": …, "trial": …, "trials": …, "phase": …, "values": {…}, "metric": …, "value": …, "reported": …,
     "seconds": …, "why": …, "best": …}    a trial of a sweep, when it begins, reports or ends; and which is the best by now;
                                           an infinite value is null, since JSON has none
    {"event": "end", "phase": "finished" | "failed" | "stopped", "error": …, "result": …, "reports": [paths]}

The last line is always an `end`, unless the run was killed.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from designer_vision.pipeline.graph import Graph
from designer_vision.pipeline.log import COUNT, NUMBER
from designer_vision.pipeline.runner import State, States
from designer_vision.pipeline.sweep import Standing, Trial
from designer_vision.runtime.files import at_home

SECONDS_BETWEEN_EVENTS = 1.0
"""Of a step of which nothing is new but its seconds."""
EPOCH = re.compile(
    rf"epoch (?P<epoch>{COUNT})/(?P<epochs>{COUNT}) .*\| train loss (?P<train_loss>{NUMBER}) "
    rf"\| valid loss (?P<valid_loss>{NUMBER}) \| top-1 (?P<top1>{NUMBER})\b.*"
)
"""A line that a training ends an epoch with."""


def open_events(target: str | None) -> TextIO | None:
    """What events are written to: a file, which begins anew, standard output for `-`, nothing for None.

    Raises:
        OSError: the file cannot be written.
    """
    if target is None:
        return None
    return sys.stdout if target == "-" else at_home(target).open("w", encoding="utf-8")


class Events:
    """Writes events as they come.

    Args:
        file: what they are written to, a line each; None where nobody wants them.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._told: dict[str, State] = {}

    def begin(self, pipeline: Path, folder: Path, process: int, graph: Graph) -> None:
        """What runs, and where."""
        steps = [step.name for step in graph.steps]
        self._write(
            {"event": "run", "pipeline": str(pipeline.absolute()), "folder": str(folder), "process": process, "steps": steps}
        )

    def remark(self, text: str) -> None:
        """A sentence for people."""
        self._write({"event": "remark", "text": text})

    def states(self, states: States) -> None:
        """What is new in the states of all steps."""
        for name, state in states.items():
            before = self._told.get(name, State())
            if _is_news(before, state):
                self._told[name] = state
                for line in state.figures.epochs[len(before.figures.epochs) :]:
                    if epoch := EPOCH.fullmatch(line):
                        self._write({"event": "epoch", "step": name, **_numbers(epoch.groupdict())})
                if state.sweep:
                    for trial in _new_trials(before.sweep, state.sweep):
                        self._write(trial_event(name, state.sweep, trial))
                self._write(step_event(name, state))

    def end(self, phase: str, error: str | None = None, result: str | None = None, reports: Sequence[Path] = ()) -> None:
        """How the run ended."""
        self._write(
            {"event": "end", "phase": phase, "error": error, "result": result, "reports": [str(page) for page in reports]}
        )

    def _write(self, event: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


def step_event(name: str, state: State) -> dict[str, Any]:
    """Where a step stands."""
    figures = state.figures
    return {
        "event": "step",
        "step": name,
        "phase": state.phase,
        "seconds": round(state.seconds, 1),
        "share": figures.share,
        "images_per_second": figures.images_per_second,
        "loss": figures.loss,
        "top1": figures.top1,
        "left": figures.left,
        "last_line": figures.last_line,
        "warnings": list(figures.warnings),
    }


def trial_event(step: str, standing: Standing, trial: Trial) -> dict[str, Any]:
    """Where a trial of a sweep stands."""
    value = standing.value(trial)
    return {
        "event": "trial",
        "step": step,
        "trial": trial.number,
        "trials": standing.total,
        "phase": trial.phase,
        "values": dict(trial.values),
        "metric": standing.objective.metric,
        "value": None if value is None or math.isinf(value) else value,
        "reported": len(trial.reported),
        "seconds": round(trial.seconds, 1),
        "why": trial.why,
        "best": standing.best.number if standing.best else None,
    }


def _new_trials(before: Standing | None, now: Standing) -> list[Trial]:
    """The trials that have begun, reported or ended since."""
    known = {trial.number: (trial.phase, trial.reported) for trial in before.trials} if before else {}
    return [trial for trial in now.trials if known.get(trial.number) != (trial.phase, trial.reported)]


def _is_news(before: State, state: State) -> bool:
    if state.phase != before.phase or state.figures != before.figures:
        return True
    if state.sweep and _new_trials(before.sweep, state.sweep):
        return True
    return state.seconds - before.seconds >= SECONDS_BETWEEN_EVENTS


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    return {name: int(text) if name in ("epoch", "epochs") else float(text) for name, text in texts.items()}
