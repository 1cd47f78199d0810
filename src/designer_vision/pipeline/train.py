"""`designer-vision train`: from a folder of photos to a trained network, with what was chosen and why."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click

from designer_vision.formats.image_index import NO_LABEL, ImageIndex
from designer_vision.formats.left_out import in_words
from designer_vision.formats.manifest import MANIFEST, read_manifest
from designer_vision.formats.plain_folder import looks_packed, unwrap
from designer_vision.networks.architectures import NETWORKS, family_of
from designer_vision.pipeline.checks import CHECKOUT
from designer_vision.pipeline.data_folders import nearest, refuse_folders_around, trainable
from designer_vision.pipeline.run import command, line_of, pairs, run_pipeline, short
from designer_vision.pipeline.run_folder import inputs_of_run
from designer_vision.runtime import values
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, InvalidModelDirectoryError, PipelineError
from designer_vision.runtime.files import at_home

SCRATCH = "scratch"
GPUS = Path("/proc/driver/nvidia/gpus")
LARGE, SMALL = 224, 160
"""Pixels a side of what the network sees: what its weights were made with, and what takes half of that time."""
MODEL_NAME = "resnet18"
"""What pipelines/photos.yaml trains where nothing else is asked for."""
RESIZED = 8 / 7
"""Of that, the shorter side of the photos that it is cropped from."""
FROM_SCRATCH = {"pretrained": "false", "learning_rate": "0.02", "epochs": "30"}
Lines = list[tuple[str, str]]
"""A heading and a text each."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "start", metavar="MODEL", help=f"A model to train further, or `{SCRATCH}`; ImageNet otherwise.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="For pipelines/photos.yaml, such as epochs=20.")
@click.option("--output_dir", type=click.Path(path_type=Path), help="Where everything is written; runs/NAME by default.")
def train(folder: Path, start: str | None, inputs: tuple[str, ...], output_dir: Path | None) -> None:
    """Train a network on the photos of FOLDER, one sub-folder a class, and measure it on photos that it has never seen."""
    folder = Path(os.path.abspath(at_home(folder)))  # noqa: PTH100 (of "..", too, without following links)
    output = output_dir or Path("runs") / (folder.name or "photos")
    given = pairs(inputs)
    changed = [f"--input={name}={value}" for name, value in given.items()]
    words = ["train", str(folder), *(["--from", start] if start else []), *changed]
    try:
        pipeline = photos_pipeline()
        if output_dir is None:
            refuse_other_photos(output, folder)
        choice = choose(folder, start, gpus_here(), given)
    except (DesignerError, OSError) as error:
        click.echo(line_of(error), err=True)
        raise SystemExit(1) from error
    for heading, text in choice.lines:
        click.echo(printable(f"{heading:9}  {text}"))
    runner = run_pipeline(pipeline, choice.inputs, output, words)
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


def choose(folder: Path, start: str | None, gpus: int, given: Mapping[str, str] = MappingProxyType({})) -> Choice:
    """Choose the inputs of pipelines/photos.yaml for a folder of photos.

    Args:
        folder: class folders, COCO, an ImageDirectory or an archive of photos.
        start: the folder of a trained model, SCRATCH, or None for weights from ImageNet.
        gpus: of this machine.
        given: inputs that the person chose.

    Raises:
        InvalidDatasetError, NotLabeledDatasetError: there are no images, or not two classes of them.
        InvalidModelDirectoryError: `start` is no model.
    """
    if not folder.exists():
        raise InvalidDatasetError(f"{folder} does not exist; {nearest(folder)}")
    side, why = (LARGE, "there is a GPU") if gpus else (SMALL, f"there is no GPU, and {LARGE} x {LARGE} would take twice as long")
    inputs = dict(FROM_SCRATCH) if start == SCRATCH else {}
    name = given.get("model_name", MODEL_NAME)
    if name in NETWORKS and (only := family_of(name).only):
        side, why = only, f"the only size of {name}"
    network = {
        None: f"{name} with weights from ImageNet; --from {SCRATCH} does without, --from MODEL takes a model of yours",
        SCRATCH: f"{name} with random weights; hence 30 epochs and a learning rate of 0.02, unless you chose others",
    }.get(start, f"that of {start}; its head is replaced unless the classes are the same")
    if start not in (None, SCRATCH):
        model = at_home(str(start))
        refuse_folders_around(model, "ModelDirectory", "--from")
        inputs["network.trained_model"] = str(model.absolute())
        if (size := read_manifest(model, "ModelDirectory", InvalidModelDirectoryError).ours.size) is not None:
            side, why = max(size), "as that model was trained"
    if "image_size" in given:
        side, why = values.integer("image_size", given["image_size"]), "as you chose"
    lines, images = look_at(folder)
    if "network.trained_model" in inputs:
        lines.append(("note", "if that model has seen some of these photos, the accuracy measured here is overstated"))
    inputs |= {
        "images": str(folder.absolute()),
        "image_size": str(side),
        "resize": str(round(side * RESIZED)),
        "processes": str(max(1, min(gpus, images))),
    }
    inputs |= given
    lines += [
        ("network", network),
        ("input", f"{side} x {side} pixels ({why}), cropped and flipped at random, anew in every epoch"),
        ("parts", "81 % of the photos to train on, 9 % to choose the epoch by, 10 % held out to measure the accuracy"),
    ]
    return Choice(inputs, lines)


def look_at(folder: Path) -> tuple[Lines, int]:
    """What is in a folder or an archive, in words, and how many images at least."""
    if folder.is_file():
        if not looks_packed(folder):
            raise InvalidDatasetError(f"{folder} is one file; give the folder that has a sub-folder for each class")
        return [("photos", f"{folder}, an archive")], sys.maxsize
    inner, packed = unwrap(folder)
    if packed:
        return [("photos", f"archives in {folder}")], sys.maxsize
    index = trainable(inner)
    return describe(index), len(index)


def describe(index: ImageIndex) -> Lines:
    """What was found in a folder."""
    counts = Counter(index.labels[index.labels != NO_LABEL].tolist())
    most, least = (pick(counts, key=lambda number: (counts[number], -number)) for pick in (max, min))
    lines = [
        (
            "photos",
            f"{len(index):,} of {len(index.classes):,} classes, "
            + (
                f"{counts[most]:,} each"
                if counts[most] == counts[least]
                else f"from {index.classes[least]} ({counts[least]:,}) to {index.classes[most]} ({counts[most]:,})"
            ),
        )
    ]
    if index.labels_from:
        lines.append(("labels", f"from {index.labels_from}"))
    if index.left_out:
        lines.append(("left out", in_words(index.left_out)))
    if not (index.folder / MANIFEST).exists():
        lines += [("note", note) for note in index.notes]
    return lines


def gpus_here() -> int:
    """NVIDIA GPUs of this machine that this process may use, told without loading torch."""
    there = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len([one for one in visible.split(",") if one.strip() not in ("", "-1")]))
