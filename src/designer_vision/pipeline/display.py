"""What a person sees of a run: a live table on a terminal, plain lines in a file or in CI, and a table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from designer_vision.pipeline.graph import OutputOf, Step
from designer_vision.pipeline.runner import State, States
from designer_vision.pipeline.sweep import Standing
from designer_vision.pipeline.sweep_page import header, rows
from designer_vision.runtime.console import clock, printable

PLAIN_WIDTH = 200
WIDE = 120
"""Columns of a terminal from which on every step says what it reads, not only those that wait."""
SECONDS_BETWEEN_LINES = 30.0
LONG_SECONDS = 600
SYMBOLS = {"waiting": " ", "running": "…", "finished": "✓", "reused": "✓", "failed": "✗", "stopped": "–"}
STYLES = {"waiting": "dim", "running": "bold", "finished": "", "reused": "", "failed": "red", "stopped": "dim"}
COLUMNS: dict[str, dict[str, Any]] = {
    "symbol": {"header": "", "no_wrap": True},
    "step": {"header": "step", "overflow": "ellipsis"},
    "state": {"header": ""},
    "progress": {"header": "", "ratio": 1, "width": 18},
    "time": {"header": "time", "justify": "right", "no_wrap": True},
    "images/s": {"header": "images/s", "justify": "right", "no_wrap": True},
    "loss": {"header": "loss", "justify": "right", "no_wrap": True},
    "top-1": {"header": "top-1", "justify": "right", "no_wrap": True},
    "from": {"header": "from"},
}
"""In the order in which they stand; one that is empty in every row is left out, so that the others have its room."""

Row = dict[str, RenderableType]


def open_console(to_stderr: bool = False) -> Console:
    """Standard output, or standard error; without any escape codes where it is no terminal that a person looks at."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # an old terminal may lack our symbols
    person = stream.isatty() and not os.environ.get("CI")
    return Console(
        stderr=to_stderr, force_terminal=person, width=None if person else PLAIN_WIDTH, highlight=False, markup=False, emoji=False
    )


@contextmanager
def shown(console: Console, steps: Sequence[Step]) -> Iterator[Callable[[States], None]]:
    """What shows the states as long as the block lasts; to be called with them whenever one changes.

    A terminal keeps the table as it is in the end, whatever ends it.
    """
    if console.is_interactive:
        graph = live_table(steps, {step.name: State() for step in steps}, console.width)
        told: set[str] = set()
        with Live(graph, console=console, refresh_per_second=2) as live:

            def update(states: States) -> None:
                for name, state in states.items():
                    for warning in state.figures.warnings:
                        if warning not in told:
                            told.add(warning)
                            console.print(printable(f"{name}: warning: {warning}"), soft_wrap=True)
                live.update(live_table(steps, states, console.width))
                if all(state.phase in ("finished", "reused") for state in states.values()):
                    live.update(final_table(states))

            yield update
    else:
        console.print(f"steps: {printable(', '.join(step.name for step in steps))}", soft_wrap=True)
        yield PlainLines(console, steps)


def live_table(steps: Sequence[Step], states: States, width: int) -> Table:
    """All steps in their order: what those that wait will read, how far the running one is, and the figures so far."""
    rows = []
    for step in steps:
        state, source = states[step.name], sources(step)
        row: Row = {"symbol": SYMBOLS[state.phase], "step": printable(step.name)}
        if width >= WIDE:
            row |= {"progress": _progress(state, ""), "from": _one_line(source)}
        else:
            row |= {"progress": _progress(state, f"from {source}" if source else "")}
        rows.append(row | _figures(state))
    return _table(rows, states, expand=True)


def final_table(states: States) -> Table:
    """All steps with their time and figures."""
    rows: list[Row] = [
        {"symbol": SYMBOLS[state.phase], "step": printable(name), "state": state.phase} | _figures(state)
        for name, state in states.items()
    ]
    return _table(rows, states, expand=False)


def trials_table(sweep: Standing) -> Table:
    """The trials of a sweep, the best first."""
    table = Table(box=None, pad_edge=False)
    for place, title in enumerate(header(sweep)):
        table.add_column(printable(title), justify="left" if place and title == "state" else "right", overflow="fold")
    for row in rows(sweep):
        table.add_row(*map(printable, row))
    return table


def warnings_of(states: States) -> list[str]:
    """The warnings of all steps, each sentence once, with the steps that said it."""
    steps: dict[str, list[str]] = {}
    for name, state in states.items():
        for warning in state.figures.warnings:
            steps.setdefault(warning, []).append(name)
    return [printable(f"{', '.join(names)}: warning: {warning}") for warning, names in steps.items()]


def sources(step: Step) -> str:
    """What a step reads: other steps, and folders by their names."""
    data = [value for value in step.inputs.values() if not isinstance(value, str)]
    names = [value.step if isinstance(value, OutputOf) else value.name for value in data]
    return printable(", ".join(dict.fromkeys(names)))


class PlainLines:
    """A line when a step starts and when it ends; meanwhile its epochs, and now and then how far it is."""

    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._console = console
        self._sources = {step.name: sources(step) for step in steps}
        self._shown: States = {}
        self._said_at: dict[str, float] = {}

    def __call__(self, states: States) -> None:
        """Print what is new."""
        for name, state in states.items():
            before = self._shown.get(name, State())
            lines = list(state.figures.epochs[len(before.figures.epochs) :])
            lines += [f"warning: {warning}" for warning in state.figures.warnings[len(before.figures.warnings) :]]
            if state.phase != before.phase:
                lines.append(self._change(name, state))
            elif not lines and state.seconds - self._said_at.get(name, 0.0) >= SECONDS_BETWEEN_LINES:
                lines.append(_line(f"running for {_time(state.seconds)}", state))
            for line in lines:
                self._said_at[name] = state.seconds
                self._console.print(f"{printable(name)}: {line}", soft_wrap=True)
            self._shown[name] = state

    def _change(self, name: str, state: State) -> str:
        if state.phase == "running":
            return f"running, from {self._sources[name]}" if self._sources[name] else "running"
        return _line(f"{'reused, took' if state.phase == 'reused' else f'{state.phase} after'} {_time(state.seconds)}", state)


def _table(rows: Sequence[Row], states: States, expand: bool) -> Table:
    table = Table(box=None, pad_edge=False, expand=expand)
    titles = [title for title in COLUMNS if any(row.get(title) for row in rows)]
    for title in titles:
        table.add_column(**COLUMNS[title])
    for row, state in zip(rows, states.values(), strict=True):
        table.add_row(*(row[title] for title in titles), style=STYLES[state.phase])
    return table


def _progress(state: State, instead: str) -> RenderableType:
    """The middle of a row: a bar with the time left, else the log's last line, else what is given."""
    figures = state.figures
    if state.phase not in ("waiting", "running"):
        return state.phase
    if state.phase == "running" and figures.share is not None:
        bar = Table.grid(Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
        beside = _trials(state.sweep) if state.sweep else figures.left or f"{100 * figures.share:.0f} %"
        bar.add_row(ProgressBar(total=1, completed=figures.share), beside)
        return bar
    return _one_line(figures.last_line or instead)


def _trials(sweep: Standing) -> str:
    """How many trials have ended, and the best so far."""
    done = f"{sweep.ended}/{sweep.total} trials"
    return done if sweep.best is None else f"{done}, best {sweep.value(sweep.best):.4g}"


def _one_line(text: str) -> Text:
    """A text that is cut where the room ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _figures(state: State) -> Row:
    figures = state.figures
    return {
        "time": "" if state.phase == "waiting" else _time(state.seconds),
        "images/s": "" if figures.images_per_second is None else f"{figures.images_per_second:.1f}",
        "loss": "" if figures.loss is None else f"{figures.loss:.4f}",
        "top-1": "" if figures.top1 is None else f"{100 * figures.top1:.1f} %",
    }


def _line(begin: str, state: State) -> str:
    """The figures behind some words, written as the components write them."""
    figures, runs = state.figures, state.phase == "running"
    fields = [
        f"{100 * figures.share:.0f} %" if runs and figures.share is not None else "",
        "" if figures.images_per_second is None else f"{figures.images_per_second:.1f} images/s",
        "" if figures.loss is None else f"loss {figures.loss:.4f}",
        "" if figures.top1 is None else f"top-1 {figures.top1:.4f}",
        f"{figures.left} left" if runs and figures.left else "",
    ]
    return " | ".join(filter(None, [begin, *fields]))


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < LONG_SECONDS else clock(seconds)
