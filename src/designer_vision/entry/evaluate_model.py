"""The command line of Evaluate Model."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import Entry, output, port, run


@click.command(cls=Entry)
@port("scored_dataset")
@port("scored_dataset_to_compare", required=False)
@port("dataset", required=False)
@port("trained_model", required=False)
@output("evaluation_results")
def parse(
    scored_dataset: Path,
    scored_dataset_to_compare: Path | None,
    dataset: Path | None,
    trained_model: Path | None,
    evaluation_results: Path,
) -> None:
    from designer_vision.components.evaluate_model import main

    main(scored_dataset, scored_dataset_to_compare, dataset, trained_model, evaluation_results)


if __name__ == "__main__":
    run(parse)
