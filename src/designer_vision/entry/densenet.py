"""DenseNet: an untrained or pretrained densely connected network, ready to be trained."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision import networks
from designer_vision.entry import resnet
from designer_vision.entry.command_line import BOOLEAN, Choice, parameter, port, run


@click.command()
@parameter("model_name", Choice(networks.DENSENETS))
@parameter("pretrained", BOOLEAN)
@parameter("memory_efficient", BOOLEAN)
@port("untrained_model")
def parse(model_name: str, pretrained: bool, memory_efficient: bool, untrained_model: Path) -> None:
    resnet.main(networks.Architecture(model_name, memory_efficient=memory_efficient), pretrained, untrained_model)


if __name__ == "__main__":
    run(parse)
