"""What a folder holds, in plain figures: any of the four kinds, plain image folders, and outputs that are not finished.

Everything is read by the readers that the components use. Those that need torch are imported where they are called: a scored
set is described without it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from designer_vision.formats.manifest import MANIFEST, Operations, is_unfinished, read_manifest, read_type, verified
from designer_vision.runtime import files
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import (
    CheckpointError,
    DesignerError,
    InvalidDatasetError,
    InvalidModelDirectoryError,
    InvalidTransformationDirectoryError,
)

if TYPE_CHECKING:
    from designer_vision.formats.image_index import ImageIndex

Size = tuple[int, int]
"""Height and width in pixels."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of some images.

    Attributes:
        images: that have theirs recorded.
        different: sizes.
        smallest, largest: by area.
        most_frequent: and how many images have it.
        with_most_frequent: images.
    """

    images: int
    different: int
    smallest: Size
    largest: Size
    most_frequent: Size
    with_most_frequent: int


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """What an ImageDirectory or a plain folder holds.

    Attributes:
        images: in the list, or in the folder.
        labeled: whether some of them have a label.
        classes: images of each class, also of those that have none.
        without_label: images.
        sizes: None where none is recorded.
        transformation: what the images have been through.
        random_operations: what is left to be redrawn every epoch.
        weighting: how much images of small classes count in a training.
        with_content_hash: images whose content hash is recorded.
        repeated: how many of these have the content of another one before them.
        fingerprint: of names, labels, sizes and content hashes.
        labels_from: the names of the label files that give the labels of a plain folder; empty where its folders do.
        left_out: files beside the images, here or where they were converted from, that are not used: by kind and folder.
    """

    images: int
    labeled: bool
    classes: dict[str, int]
    without_label: int
    sizes: Sizes | None
    transformation: Operations
    random_operations: Operations
    weighting: str
    with_content_hash: int
    repeated: int
    fingerprint: str
    labels_from: str
    left_out: dict[str, dict[str, int]]


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What a ModelDirectory holds.

    Attributes:
        network: its name.
        state: pretrained is with the weights of ImageNet and its 1000 classes.
        classes: of a trained one, in the order of its outputs.
        network_parameters: numbers that training changes.
        mean, std: of the input that it expects.
        input_size: None in what the classic module wrote, and before training.
        transformation: what takes a photo to that size.
        training_parameters: what it was trained with.
        best_epoch: the number and the metrics of the epoch that was kept.
        temperature: that its logits are divided by.
    """

    network: str
    state: Literal["untrained", "pretrained", "trained"]
    classes: tuple[str, ...]
    network_parameters: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: Size | None
    transformation: Operations
    training_parameters: dict[str, Any]
    best_epoch: dict[str, Any]
    temperature: float


class Transformation(msgspec.Struct, frozen=True, kw_only=True):
    """What a TransformationDirectory holds: the operations in their order, and those of them that are random."""

    operations: Operations
    random_operations: Operations


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What a DataFrameDirectory holds.

    Attributes:
        images: that were scored.
        labeled: whether the set had labels.
        with_label: images whose true label is known.
        accuracy: the share of these whose most probable label is the true one; None without any.
        predicted: images by their most probable label, in the order of the network's outputs.
    """

    images: int
    labeled: bool
    with_label: int
    accuracy: float | None
    predicted: dict[str, int]


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is whose output is not finished, by its newest checkpoint.

    Attributes:
        network: its name.
        classes: in the order of its outputs.
        epochs: at most.
        finished_epochs: of these.
        images: trained on in the epoch under way.
        validated: batches of its validation.
    """

    network: str
    classes: list[str]
    epochs: int
    finished_epochs: int
    images: int
    validated: int


Content = Images | Network | Transformation | Scores | Training


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a folder.

    Attributes:
        folder: its path, as it was given.
        type: as in its `_meta.yaml`; a plain folder of images is read as an ImageDirectory; None where nothing tells yet.
        finished: whether its writer came to the end.
        origin: who wrote it.
        record_version: of what this package adds to `_meta.yaml`.
        hashes: of the files that have one recorded; all of them are what was written.
        content: None where it is not finished and nothing is known yet.
        notes: what the readers had to say.
    """

    folder: str
    type: str | None
    finished: bool
    origin: Literal["designer_vision", "classic module", "plain folder"]
    record_version: int | None = None
    hashes: dict[str, str] = {}
    content: Content | None
    notes: list[str] = []


def summarize(folder: Path) -> Summary:
    """What a folder holds.

    Raises:
        DesignerError: it is none of the kinds, or damaged; with what its reader says.
    """
    if not folder.is_dir():
        raise InvalidDatasetError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    with redirect_stdout(io.StringIO()) as told:
        summary = _summarize(folder)
    return msgspec.structs.replace(summary, notes=told.getvalue().splitlines())


def _summarize(folder: Path) -> Summary:
    path = str(folder)
    if is_unfinished(folder):
        kind, training = _unfinished(folder)
        return Summary(folder=path, type=kind, finished=False, origin="designer_vision", content=training)
    if not (folder / MANIFEST).exists():
        return Summary(folder=path, type="ImageDirectory", finished=True, origin="plain folder", content=_images(folder))
    kind, is_ours = read_type(folder, InvalidDatasetError)
    if kind not in KINDS:
        raise InvalidDatasetError(f"{folder / MANIFEST} has type {kind[:100]!r}, expected one of {', '.join(KINDS)}")
    error, read = KINDS[kind]
    manifest = read_manifest(folder, kind, error)
    for name in manifest.ours.hashes:  # a reader checks only those of the files that it needs
        verified(folder, name, manifest, error)
    return Summary(
        folder=path,
        type=kind,
        finished=True,
        origin="designer_vision" if is_ours else "classic module",
        record_version=manifest.ours.version if is_ours else None,
        hashes=manifest.ours.hashes,
        content=read(folder),
    )


def _images(folder: Path) -> Images:
    import numpy as np

    from designer_vision.formats.image_directory import read_image_directory
    from designer_vision.formats.image_index import NO_LABEL

    index = read_image_directory(folder)
    for note in index.notes:
        say(note)
    with_label = index.labels[index.labels != NO_LABEL]
    counts = np.bincount(with_label, minlength=len(index.classes)).tolist()
    hashes = index.hashes[index.hashes.any(axis=1)]
    return Images(
        images=len(index),
        labeled=index.is_labeled,
        classes=dict(sorted((dict(zip(index.classes, counts, strict=True)) | dict.fromkeys(index.unused_classes, 0)).items())),
        without_label=len(index) - len(with_label),
        sizes=_sizes(index),
        transformation=index.transformation,
        random_operations=index.random_operations,
        weighting=index.weighting,
        with_content_hash=len(hashes),
        repeated=len(hashes) - len(np.unique(np.ascontiguousarray(hashes).view("S16"))),
        fingerprint=index.fingerprint,
        labels_from=index.labels_from,
        left_out=index.left_out,
    )


def _sizes(index: ImageIndex) -> Sizes | None:
    import numpy as np

    recorded = index.sizes[index.sizes.all(axis=1)]
    if not len(recorded):
        return None
    different, counts = np.unique(recorded, axis=0, return_counts=True)
    sizes = [(int(height), int(width)) for height, width in different]
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    most = int(counts.argmax())
    return Sizes(
        images=len(recorded),
        different=len(sizes),
        smallest=by_area[0],
        largest=by_area[-1],
        most_frequent=sizes[most],
        with_most_frequent=int(counts[most]),
    )


def _network(folder: Path) -> Network:
    from designer_vision.formats.model_directory import read_model_directory
    from designer_vision.networks import builders
    from designer_vision.training.parameters import Parameters

    model = read_model_directory(folder)
    network = builders.on_meta(model.architecture, len(model.labels) or builders.IMAGENET_CLASSES)
    asked = {"processes", *(field.name for field in fields(Parameters))}
    return Network(
        network=model.architecture.model_name,
        state="trained" if model.is_trained else "pretrained" if model.pretrained else "untrained",
        classes=model.labels,
        network_parameters=sum(parameter.numel() for parameter in network.parameters()),
        mean=model.mean,
        std=model.std,
        input_size=model.size,
        transformation=model.operations or [],
        training_parameters={name: value for name, value in model.training.items() if name in asked},
        best_epoch={name: value for name, value in model.training.items() if name not in asked},
        temperature=model.temperature,
    )


def _transformation(folder: Path) -> Transformation:
    from designer_vision.data import transforms
    from designer_vision.formats.transformation_directory import TRANSFORMS, read_transformation_directory

    operations = read_transformation_directory(folder)
    transforms.check(operations, folder / TRANSFORMS)
    return Transformation(operations=operations, random_operations=[one for one in operations if transforms.is_random(one)])


def _scores(folder: Path) -> Scores:
    from designer_vision.formats.data_frame_directory import read_data_frame_directory

    scored = read_data_frame_directory(folder)
    predicted = scored.scored_labels
    counts = Counter(predicted)
    hits = [true == label for true, label in zip(scored.categories or [], predicted, strict=False) if true]
    return Scores(
        images=len(scored.ids),
        labeled=scored.categories is not None,
        with_label=len(hits),
        accuracy=sum(hits) / len(hits) if hits else None,
        predicted={label: counts[label] for label in scored.labels},
    )


KINDS: dict[str, tuple[type[DesignerError], Callable[[Path], Content]]] = {
    "ImageDirectory": (InvalidDatasetError, _images),
    "ModelDirectory": (InvalidModelDirectoryError, _network),
    "TransformationDirectory": (InvalidTransformationDirectoryError, _transformation),
    "DataFrameDirectory": (InvalidDatasetError, _scores),
}
"""What reads a folder of each type, and the error that says why it cannot."""


class _Configuration(msgspec.Struct):
    """What is told of a checkpoint's configuration."""

    network: str
    classes: list[str]
    epochs: int


def _unfinished(folder: Path) -> tuple[str | None, Training | None]:
    """The type of an unfinished output, where it has the checkpoints that only a training leaves, and the newest of them."""
    from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints

    place = files.contained(folder, CHECKPOINT, CheckpointError)
    if not place.is_dir():
        return None, None
    found = Checkpoints(place).newest()
    if found is None:
        return "ModelDirectory", None
    try:
        configuration = msgspec.convert(found.configuration, _Configuration)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{place / found.payload}: its manifest: {error}; run that training again") from error
    position = found.position
    return "ModelDirectory", Training(
        network=configuration.network,
        classes=configuration.classes,
        epochs=configuration.epochs,
        finished_epochs=position.epochs,
        images=position.images,
        validated=position.validated,
    )
