"""The `designer-vision` command."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from designer_vision.errors import DesignerError
from designer_vision.pipeline.experiment import Experiment
from designer_vision.pipeline.graph import experiment_name, load_graph
from designer_vision.pipeline.runner import Runner, States, prepare_folder, result_line
from designer_vision.pipeline.show import show

SYMBOLS = {"waiting": " ", "running": "…", "finished": "✓", "reused": "✓", "failed": "✗"}


@click.group()
def main() -> None:
    """The Azure ML designer's computer-vision components, on this machine."""


main.add_command(show)


@main.command()
@click.argument("pipeline", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="Another value for an input of the pipeline.")
@click.option("--output_dir", type=click.Path(path_type=Path), help="Where all steps write; again to go on with a stopped run.")
def run(pipeline: Path, inputs: tuple[str, ...], output_dir: Path | None) -> None:
    """Run a pipeline YAML as Azure ML would, step by step.

    With the --output_dir of an earlier run, steps that are finished and unchanged are not run again.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = (output_dir or Path("runs") / f"{pipeline.stem}_{time.strftime('%Y%m%d_%H%M%S')}").absolute()
    console = Console(highlight=False)
    try:
        prepare_folder(folder, pipeline)
        console.print(f"{pipeline} in {_short(folder)}", soft_wrap=True)
        experiment = Experiment(experiment_name(pipeline), folder)
        graph = load_graph(pipeline, dict(_pair(text) for text in inputs))
        console.print(f"steps: {', '.join(step.name for step in graph.steps)}", soft_wrap=True)
        with _shown(console) as show:
            runner = Runner(graph, folder, experiment, show)
            runner.run()
    except DesignerError as error:
        click.echo(error.line(), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(f"stopped; the same command with --output_dir {_short(folder)} goes on", err=True)
        sys.exit(130)
    console.print(_table(runner.states))
    if experiment.uri.startswith("sqlite:"):
        mlflow = _short(Path(sys.executable).parent / "mlflow")
        console.print(f"metrics: {mlflow} ui --backend-store-uri sqlite:///{_short(folder / 'mlflow.db')}", soft_wrap=True)
    if (line := result_line(graph.steps, runner)) is not None:
        console.print(line)


def _pair(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\w+)=(.*)", text, re.DOTALL)
    if not match:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--input")
    return match[1], match[2]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[States], None]]:
    """How states are shown: a live table on a terminal, else a line when a step starts and when it ends."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda states: live.update(_table(states))
        return
    told: dict[str, str] = {}

    def show(states: States) -> None:
        for name, state in states.items():
            if state.phase != told.get(name, "waiting"):
                told[name] = state.phase
                ended = "" if state.phase == "running" else f" after {state.seconds:.1f} s"
                console.print(f"{name}: {state.phase}{ended}", soft_wrap=True)

    yield show


def _table(states: States) -> Table:
    table = Table("", "step", "", "time", "images/s", "", box=None, pad_edge=False)
    for name, state in states.items():
        seconds = f"{state.seconds:.1f} s" if state.phase != "waiting" else ""
        speed = f"{state.images_per_second:.1f}" if state.images_per_second else ""
        table.add_row(SYMBOLS[state.phase], name, state.phase, seconds, speed, escape(state.last_line[:100]))
    return table


def _short(path: Path) -> str:
    """A path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
