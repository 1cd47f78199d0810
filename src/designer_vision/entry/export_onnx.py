"""The command line of Export ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from designer_vision.entry.command_line import Entry, output, port, run


@click.command(cls=Entry)
@port("trained_model")
@output("onnx_model")
def parse(trained_model: Path, onnx_model: Path) -> None:
    from designer_vision.components.export_onnx import main

    main(trained_model, onnx_model)


if __name__ == "__main__":
    run(parse, needs_compiler=True)
