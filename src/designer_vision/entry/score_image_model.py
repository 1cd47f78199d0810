"""The command line of Score Image Model."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import NUMBER, Entry, output, parameter, port, run


@click.command(cls=Entry)
@port("trained_model")
@port("dataset")
@parameter("threshold", NUMBER)
@output("scored_dataset")
def parse(trained_model: Path, dataset: Path, threshold: float, scored_dataset: Path) -> None:
    from designer_vision.components.score_image_model import main

    main(trained_model, dataset, threshold, scored_dataset)


if __name__ == "__main__":
    run(parse)
