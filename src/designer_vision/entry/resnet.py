"""ResNet: an untrained or pretrained residual network, ready to be trained."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.architectures import RESNETS, Architecture
from designer_vision.console import say
from designer_vision.entry.command_line import BOOLEAN, Choice, Entry, output, parameter, run


@click.command(cls=Entry)
@parameter("model_name", Choice(RESNETS))
@parameter("pretrained", BOOLEAN)
@parameter("zero_init_residual", BOOLEAN)
@output("untrained_model")
def parse(model_name: str, pretrained: bool, zero_init_residual: bool, untrained_model: Path) -> None:
    write_untrained(Architecture(model_name, zero_init_residual=zero_init_residual), pretrained, untrained_model)


def write_untrained(architecture: Architecture, pretrained: bool, untrained_model: Path) -> None:
    """Write the ModelDirectory of an untrained (or on ImageNet pretrained) network.

    Raises:
        PretrainedWeightsError: the weights could not be fetched.
    """
    from designer_vision.directories.model_directory import untrained, write_model_directory

    write_model_directory(untrained_model, untrained(architecture, pretrained))
    weights = "weights from ImageNet" if pretrained else "random weights"
    say(f"{architecture.model_name} with {weights} is in {untrained_model}")


if __name__ == "__main__":
    run(parse)
