"""The page of a sweep: its trials as a table, and in pictures."""

from __future__ import annotations

from pathlib import Path

from designer_vision.pipeline.sweep import Standing, Trial
from designer_vision.runtime.console import clock, printable

PAGE = "sweep.html"
MOST_FAILED = 5
"""Trials whose last words are shown."""
LONG = 8
"""Letters of a number from which on it is shortened."""


def write_page(folder: Path, name: str, standing: Standing) -> None:
    """Write `sweep.html` into the folder of a sweep that has finished."""
    from designer_vision.report.page import Page, Section, render
    from designer_vision.report.pictures import draw_trials

    trials, best = standing.ranked(), standing.best
    assert best is not None
    picture = draw_trials(
        standing.objective.metric,
        {"trial": [str(trial.number) for trial in standing.trials]}
        | {parameter: [trial.values[parameter] for trial in standing.trials] for parameter in best.values},
        [standing.value(trial) for trial in standing.trials],
        [trial.phase == "finished" for trial in standing.trials],
        best.number - 1,
    )
    counts = {phase: sum(trial.phase == phase for trial in trials) for phase in ("finished", "stopped", "failed")}
    value = standing.value(best)
    page = Page(
        title=f"Sweep {name}",
        subtitle=", ".join(f"{count} {phase}" for phase, count in counts.items() if count) + f" of {standing.total} trials",
        tiles=[
            (f"{standing.objective.metric}, the {'highest' if standing.objective.maximize else 'lowest'}", f"{value:.4g}"),
            *((parameter, shortened(text)) for parameter, text in best.values.items()),
            ("the best trial", str(best.number)),
        ],
        sections=[
            Section(
                standing.objective.metric,
                "Each point is the best value that a trial reported. Green is the best trial's; hollow ones were stopped.",
                picture=picture,
            ),
            Section(
                "Trials, the best first", header=header(standing), rows=rows(standing), texts=1,
                note="The best trial's output is this step's output. Each trial's own is in its folder, trial_ and its number.",
            ),
            *(
                [Section("Trials that failed", codes=["\n".join(trial.why.split("; ")) for trial in failed[:MOST_FAILED]])]
                if (failed := [trial for trial in trials if trial.phase == "failed"])
                else []
            ),
        ],
    )  # fmt: skip
    (folder / PAGE).write_text(render(page), encoding="utf-8")


def header(standing: Standing) -> list[str]:
    """The columns of the table of trials."""
    parameters = list(standing.trials[0].values) if standing.trials else []
    return ["trial", *parameters, standing.objective.metric, "reported", "state", "time"]


def rows(standing: Standing) -> list[list[str]]:
    """All trials, the best first."""
    return [_row(standing, trial) for trial in standing.ranked()]


def _row(standing: Standing, trial: Trial) -> list[str]:
    value = standing.value(trial)
    state = trial.phase if trial.phase != "stopped" or not trial.why else f"stopped: {trial.why}"
    return [
        str(trial.number),
        *map(shortened, trial.values.values()),
        "" if value is None else f"{value:.4g}",
        str(len(trial.reported)),
        state,
        f"{trial.seconds:.1f} s" if trial.seconds < 600 else clock(trial.seconds),
    ]


def line_of(standing: Standing, trial: Trial) -> str:
    """A trial that has ended, in one line."""
    values = ", ".join(f"{name} {shortened(value)}" for name, value in trial.values.items())
    value = standing.value(trial)
    parts = [
        f"trial {trial.number}/{standing.total}",
        values,
        "" if value is None else f"{standing.objective.metric} {value:.4g}",
        "" if trial.phase == "finished" else trial.phase + (f": {trial.why}" if trial.why else ""),
        "the best so far" if trial == standing.best else "",
    ]
    return printable(" | ".join(filter(None, parts)))


def shortened(text: str) -> str:
    """A number of many digits as it can be read; any other text as it is."""
    try:
        return f"{float(text):.4g}" if len(text) > LONG else text
    except ValueError:
        return text
