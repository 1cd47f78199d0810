"""`designer-vision train`: from a folder of photos to a trained network, with what was chosen and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from designer_vision.console import printable
from designer_vision.directories.image_index import NO_LABEL, ImageIndex
from designer_vision.directories.left_out import in_words
from designer_vision.directories.manifest import MANIFEST, read_manifest
from designer_vision.errors import DesignerError, InvalidModelDirectoryError, PipelineError
from designer_vision.pipeline.data_folders import refuse_folders_around, trainable
from designer_vision.pipeline.preflight import CHECKOUT
from designer_vision.pipeline.run import command, line_of, pairs, run_pipeline, short
from designer_vision.pipeline.run_folder import inputs_of_run

SCRATCH = "scratch"
GPUS = Path("/proc/driver/nvidia/gpus")
LARGE, SMALL = 224, 160
"""Pixels a side of what the network sees: what its weights were made with, and what takes half of that time."""
RESIZED = 8 / 7
"""Of that, the shorter side of the photos that it is cropped from."""
FROM_SCRATCH = {"pretrained": "false", "learning_rate": "0.02", "epochs": "30"}
Lines = list[tuple[str, str]]
"""A heading and a text each."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "start", metavar="MODEL", help=f"A model to train further, or `{SCRATCH}`; ImageNet otherwise.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="For pipelines/photos.yaml, such as epochs=20.")
@click.option("--output_dir", type=click.Path(path_type=Path), help="Where all is written; runs/NAME unless given.")
def train(folder: Path, start: str | None, inputs: tuple[str, ...], output_dir: Path | None) -> None:
    """Train a network on the photos of FOLDER, one sub-folder a class, and measure it on photos that it has never seen."""
    folder = folder.expanduser()
    output = output_dir or Path("runs") / (folder.absolute().name or "photos")
    given = pairs(inputs)
    changed = [f"--input={name}={value}" for name, value in given.items()]
    words = ["train", str(folder), *(["--from", start] if start else []), *changed]
    try:
        pipeline = photos_pipeline()
        if output_dir is None:
            refuse_other_photos(output, folder)
        choice = choose(folder, start, gpus_here())
    except (DesignerError, OSError) as error:
        click.echo(line_of(error), err=True)
        raise SystemExit(1) from error
    for heading, text in choice.lines:
        click.echo(printable(f"{heading:9}  {text}"))
    runner = run_pipeline(pipeline, choice.inputs | given, output, words)
    click.echo(f"to predict: {command('predict', short(runner.output('train', 'trained_model')), 'PHOTO')}")
    click.echo(f"to serve:   {command('serve', short(runner.output('train', 'trained_model')))}")


def photos_pipeline() -> Path:
    """pipelines/photos.yaml of the repository that this package runs from.

    Raises:
        PipelineError: the package was installed without it.
    """
    path = CHECKOUT / "pipelines" / "photos.yaml"
    if not path.is_file():
        raise PipelineError(f"{path} is not there; install designer_vision from its repository, with `pip install --editable`")
    return path


def refuse_other_photos(output: Path, folder: Path) -> None:
    """Refuse the usual output of a folder where another folder of the same name was trained on.

    Raises:
        PipelineError: with both folders.
    """
    before = inputs_of_run(output).get("images")
    if before not in (None, str(folder.absolute())):
        raise PipelineError(f"{output} holds a training on {before}; give another --output_dir for {folder.absolute()}")


@dataclass(frozen=True)
class Choice:
    """What a training is started with.

    Attributes:
        inputs: of pipelines/photos.yaml.
        lines: what was found and chosen, and why.
    """

    inputs: dict[str, str]
    lines: Lines


def choose(folder: Path, start: str | None, gpus: int) -> Choice:
    """Choose the inputs of pipelines/photos.yaml for a folder of photos.

    Args:
        folder: class folders, COCO, an ImageDirectory or an archive of photos.
        start: the folder of a trained model, SCRATCH, or None for weights from ImageNet.
        gpus: of this machine.

    Raises:
        InvalidDatasetError, NotLabeledDatasetError: there are no images, or not two classes of them.
        InvalidModelDirectoryError: `start` is no model.
    """
    side, why = (
        (LARGE, f"{gpus} GPU{'s' if gpus > 1 else ''}") if gpus else (SMALL, f"no GPU here, and {LARGE} take twice the time")
    )
    inputs: dict[str, str] = {}
    if start is None:
        network = f"resnet18 with weights from ImageNet; --from {SCRATCH} starts without, --from MODEL from a model of yours"
    elif start == SCRATCH:
        inputs = dict(FROM_SCRATCH)
        network = "resnet18 with random weights, which need more epochs and a higher learning rate"
    else:
        model = Path(start).expanduser()
        refuse_folders_around(model, "ModelDirectory", "--from")
        inputs = {"network.trained_model": str(model.absolute())}
        network = f"that of {start}; its head is replaced unless the classes are the same"
        if (size := read_manifest(model, "ModelDirectory", InvalidModelDirectoryError).ours.size) is not None:
            side, why = max(size), "as that model was trained"
    processes = max(1, gpus)
    inputs |= {
        "images": str(folder.absolute()),
        "image_size": str(side),
        "resize": str(round(side * RESIZED)),
        "processes": str(processes),
    }
    lines = [("photos", f"{folder}, an archive")] if folder.is_file() else describe(trainable(folder))
    lines += [
        ("network", network),
        ("input", f"{side} x {side} pixels ({why}), cropped and flipped at random, anew in every epoch"),
        ("parts", "81 % of the photos to train on, 9 % to choose the best epoch by, 10 % held out to measure the accuracy"),
    ]
    return Choice(inputs, lines)


def describe(index: ImageIndex) -> Lines:
    """What was found in a folder."""
    counts = Counter(index.labels[index.labels != NO_LABEL].tolist())
    most, least = (pick(counts, key=lambda number: (counts[number], -number)) for pick in (max, min))
    lines = [
        (
            "photos",
            f"{len(index):,} of {len(index.classes):,} classes, from {index.classes[least]} ({counts[least]:,}) "
            f"to {index.classes[most]} ({counts[most]:,})",
        )
    ]
    if index.left_out:
        lines.append(("left out", in_words(index.left_out)))
    if not (index.folder / MANIFEST).exists():
        lines += [("note", note) for note in index.notes]
    return lines


def gpus_here() -> int:
    """NVIDIA GPUs of this machine, told without loading torch."""
    return len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
