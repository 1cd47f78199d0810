"""The command line of Apply Image Transformation."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import Choice, Entry, output, parameter, port, run


@click.command(cls=Entry)
@parameter("mode", Choice(("For training", "For inference")))
@port("input_image_transformation")
@port("input_image_directory")
@output("output_image_directory")
def parse(mode: str, input_image_transformation: Path, input_image_directory: Path, output_image_directory: Path) -> None:
    from designer_vision.components.apply_image_transformation import main

    main(mode, input_image_transformation, input_image_directory, output_image_directory)


if __name__ == "__main__":
    run(parse)
