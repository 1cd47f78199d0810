"""The command line of Train PyTorch Model."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import INTEGER, NUMBER, Entry, output, parameter, port, run
from designer_vision.training.parameters import Parameters


@click.command(cls=Entry)
@port("untrained_model")
@port("training_dataset")
@port("validation_dataset")
@parameter("epochs", INTEGER)
@parameter("batch_size", INTEGER)
@parameter("warmup_step_number", INTEGER)
@parameter("learning_rate", NUMBER)
@parameter("random_seed", INTEGER)
@parameter("patience", INTEGER)
@parameter("print_frequency", INTEGER)
@output("trained_model")
def parse(untrained_model: Path, training_dataset: Path, validation_dataset: Path, trained_model: Path, **seven: float) -> None:
    parameters = Parameters(**seven)  # type: ignore[arg-type]  # refused before torch is imported, which takes seconds
    from designer_vision.components.train_pytorch_model import main

    main(untrained_model, training_dataset, validation_dataset, parameters, trained_model)


if __name__ == "__main__":
    run(parse, needs_compiler=True)
