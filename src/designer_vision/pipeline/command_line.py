"""The `designer-vision` command."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from designer_vision.console import printable
from designer_vision.errors import DesignerError
from designer_vision.pipeline.display import final_table, open_console, shown
from designer_vision.pipeline.experiment import Experiment
from designer_vision.pipeline.graph import experiment_name, load_graph
from designer_vision.pipeline.runner import Runner, prepare_folder, reports, result_line
from designer_vision.pipeline.show import show


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
    console = open_console()
    try:
        prepare_folder(folder, pipeline)
        console.print(f"{printable(str(pipeline))} in {_short(folder)}", soft_wrap=True)
        experiment = Experiment(experiment_name(pipeline), folder)
        graph = load_graph(pipeline, dict(_pair(text) for text in inputs))
        with shown(console, graph.steps) as show:
            runner = Runner(graph, folder, experiment, show)
            runner.run()
    except DesignerError as error:
        click.echo(error.line(), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(f"stopped; the same command with --output_dir {_short(folder)} goes on", err=True)
        sys.exit(130)
    console.print(final_table(runner.states))
    if experiment.uri.startswith("sqlite:"):
        mlflow = _short(Path(sys.executable).parent / "mlflow")
        console.print(f"metrics: {mlflow} ui --backend-store-uri sqlite:///{_short(folder / 'mlflow.db')}", soft_wrap=True)
    if (line := result_line(graph.steps, runner)) is not None:
        console.print(line)
    for page in reports(graph.steps, runner):
        console.print(f"report: {_short(page)}", soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\w+)=(.*)", text, re.DOTALL)
    if not match:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--input")
    return match[1], match[2]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _short(path: Path) -> str:
    """A path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return printable(relative if len(relative) < len(str(path)) else str(path))
