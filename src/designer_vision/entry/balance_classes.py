"""The command line of Balance Classes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from designer_vision.entry.command_line import Choice, Entry, output, parameter, port, run
from designer_vision.formats.manifest import Weighting


@click.command(cls=Entry)
@port("input_image_directory")
@parameter("weighting", Choice(get_args(Weighting)))
@output("output_image_directory")
def parse(input_image_directory: Path, weighting: Weighting, output_image_directory: Path) -> None:
    from designer_vision.components.balance_classes import main

    main(input_image_directory, weighting, output_image_directory)


if __name__ == "__main__":
    run(parse)
