"""Image Network: any of the networks by name, untrained or pretrained, ready to be trained."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import BOOLEAN, Choice, Entry, output, parameter, port, run
from designer_vision.entry.resnet import write_untrained
from designer_vision.networks.architectures import NETWORKS, Architecture


@click.command(cls=Entry)
@parameter("model_name", Choice(NETWORKS))
@parameter("pretrained", BOOLEAN)
@port("trained_model", required=False)
@output("untrained_model")
def parse(model_name: str, pretrained: bool, trained_model: Path | None, untrained_model: Path) -> None:
    write_untrained(Architecture(model_name), pretrained, trained_model, untrained_model)


if __name__ == "__main__":
    run(parse)
