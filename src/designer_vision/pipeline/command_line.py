"""The `designer-vision` command."""

from __future__ import annotations

import time
from pathlib import Path

import click

from designer_vision import __version__
from designer_vision.designer.command import designer
from designer_vision.pipeline.predict import predict
from designer_vision.pipeline.run import pairs, run_pipeline
from designer_vision.pipeline.serve import serve
from designer_vision.pipeline.show import show
from designer_vision.pipeline.train import train
from designer_vision.runtime.console import replace_closed_streams

INPUT_HELP = "Another value for an input of the pipeline, or of one of its steps (STEP.PORT=VALUE)."


@click.group()
@click.version_option(__version__, prog_name="designer-vision")
def main() -> None:
    """The Azure ML designer's computer-vision components, on this machine."""
    replace_closed_streams()


for command in (train, predict, serve, show, designer):
    main.add_command(command)


@main.command()
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help=INPUT_HELP)
@click.option("--output_dir", type=click.Path(path_type=Path), help="Where all steps write; reuse it to resume a stopped run.")
@click.option("--events", metavar="FILE", help="Also write what the run tells as JSON lines, for programs; - is standard output.")
def run(pipeline: Path, inputs: tuple[str, ...], output_dir: Path | None, events: str | None) -> None:
    """Run a pipeline YAML as Azure ML would, step by step.

    With the --output_dir of an earlier run, steps that are finished and unchanged are not run again.
    """
    folder = output_dir or Path("runs") / f"{pipeline.stem}_{time.strftime('%Y%m%d_%H%M%S')}"
    given = pairs(inputs)
    words = [word for name, value in given.items() for word in ("--input", f"{name}={value}")]
    run_pipeline(pipeline, given, folder, ["run", str(pipeline), *words], events)
