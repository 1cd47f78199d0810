"""DenseNet: an untrained or pretrained densely connected network, ready to be trained."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import BOOLEAN, Choice, Entry, output, parameter, port, run
from designer_vision.entry.resnet import write_untrained
from designer_vision.networks.architectures import DENSENET, Architecture


@click.command(cls=Entry)
@parameter("model_name", Choice(DENSENET.names))
@parameter("pretrained", BOOLEAN)
@parameter("memory_efficient", BOOLEAN)
@port("trained_model", required=False)
@output("untrained_model")
def parse(model_name: str, pretrained: bool, memory_efficient: bool, trained_model: Path | None, untrained_model: Path) -> None:
    write_untrained(Architecture(model_name, memory_efficient=memory_efficient), pretrained, trained_model, untrained_model)


if __name__ == "__main__":
    run(parse)
