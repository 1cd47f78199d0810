"""The command line of Convert to Image Directory."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import Entry, output, port, run


@click.command(cls=Entry)
@port("input_dataset")
@output("output_image_directory")
def parse(input_dataset: Path, output_image_directory: Path) -> None:
    from designer_vision.components.convert_to_image_directory import main

    main(input_dataset, output_image_directory)


if __name__ == "__main__":
    run(parse)
