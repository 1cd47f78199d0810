"""ResNet: an untrained or pretrained residual network, ready to be trained."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import BOOLEAN, Choice, Entry, output, parameter, port, run
from designer_vision.networks.architectures import RESNET, Architecture
from designer_vision.runtime.console import say


@click.command(cls=Entry)
@parameter("model_name", Choice(RESNET.names))
@parameter("pretrained", BOOLEAN)
@parameter("zero_init_residual", BOOLEAN)
@port("trained_model", required=False)
@output("untrained_model")
def parse(model_name: str, pretrained: bool, zero_init_residual: bool, trained_model: Path | None, untrained_model: Path) -> None:
    write_untrained(Architecture(model_name, zero_init_residual=zero_init_residual), pretrained, trained_model, untrained_model)


def write_untrained(architecture: Architecture, pretrained: bool, trained_model: Path | None, untrained_model: Path) -> None:
    """Write the ModelDirectory of an untrained (or on ImageNet pretrained) network, or of a trained one to start from.

    Raises:
        PretrainedWeightsError: the weights could not be fetched.
        InvalidModelDirectoryError: `trained_model` is no model.
    """
    from designer_vision.formats.model_directory import read_model_directory, untrained, write_model_directory

    if trained_model is not None:
        model = read_model_directory(trained_model)
        write_model_directory(untrained_model, model)
        say(
            f"{model.architecture.model_name} of {trained_model}, trained on {len(model.labels)} classes, is passed on; "
            "model_name and pretrained are ignored"
        )
        return
    write_model_directory(untrained_model, untrained(architecture, pretrained))
    weights = "weights from ImageNet" if pretrained else "random weights"
    say(f"{architecture.model_name} with {weights} is in {untrained_model}")


if __name__ == "__main__":
    run(parse)
