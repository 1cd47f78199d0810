"""The command line of Clean Image Directory."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from designer_vision.cleaning.actions import Action
from designer_vision.entry.command_line import Choice, Entry, output, parameter, port, run


@click.command(cls=Entry)
@port("input_image_directory")
@port("image_directory_to_compare", required=False)
@port("scored_dataset", required=False)
@parameter("action", Choice(get_args(Action)))
@output("output_image_directory")
@output("cleaning_report")
def parse(
    input_image_directory: Path,
    image_directory_to_compare: Path | None,
    scored_dataset: Path | None,
    action: Action,
    output_image_directory: Path,
    cleaning_report: Path,
) -> None:
    from designer_vision.components.clean_image_directory import main

    main(input_image_directory, image_directory_to_compare, scored_dataset, action, output_image_directory, cleaning_report)


if __name__ == "__main__":
    run(parse)
