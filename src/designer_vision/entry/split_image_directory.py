"""The command line of Split Image Directory."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import INTEGER, NUMBER, Entry, output, parameter, port, run


@click.command(cls=Entry)
@port("input_image_directory")
@parameter("fraction", NUMBER)
@parameter("random_seed", INTEGER)
@output("output_image_directory1")
@output("output_image_directory2")
def parse(
    input_image_directory: Path,
    fraction: float,
    random_seed: int,
    output_image_directory1: Path,
    output_image_directory2: Path,
) -> None:
    from designer_vision.components.split_image_directory import main

    main(input_image_directory, fraction, random_seed, output_image_directory1, output_image_directory2)


if __name__ == "__main__":
    run(parse)
