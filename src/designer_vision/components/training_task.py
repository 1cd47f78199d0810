"""What Train PyTorch Model trains: its inputs read, checked against each other, and written down."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torchvision
from torch import nn

from designer_vision import __version__
from designer_vision.components.preflight import check_batches
from designer_vision.data.preprocessing import Preprocessing, plan_preprocessing
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import is_unfinished
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import NETWORKS, Architecture
from designer_vision.runtime.errors import CheckpointError, InvalidDatasetError, InvalidModelDirectoryError
from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints, Manifest
from designer_vision.training.parameters import Parameters
from designer_vision.training.results import TrainingResult

BEGINNING = ("initial weights", "weights from", "new head")
"""What a configuration says of the weights that a training began with, which one that goes on elsewhere takes over."""


@dataclass(frozen=True)
class Task:
    """What is trained on what: the same on every rank.

    Attributes:
        model: to start from.
        training, validation: with the same classes.
        preprocessing: of their images.
        parameters: the person's seven.
        configuration: all that decides what comes of it.
    """

    model: Model
    training: ImageIndex
    validation: ImageIndex
    preprocessing: Preprocessing
    parameters: Parameters
    configuration: Mapping[str, Any]

    @property
    def has_new_head(self) -> bool:
        """Whether all layers but the last have learned before."""
        return self.configuration.get("new head") is True

    @property
    def class_weights(self) -> tuple[float, ...]:
        return class_weights(self.training)

    @property
    def is_from_scratch(self) -> bool:
        return str(self.configuration["weights from"]).startswith("seed")

    def trained(self, result: TrainingResult, processes: int) -> Model:
        """The model that came of it."""
        metrics = {"processes": processes, "epoch": result.best.number, **result.best.metrics()}
        return Model(
            self.model.architecture,
            result.weights,
            labels=self.training.classes,
            mean=self.model.mean,
            std=self.model.std,
            operations=self.preprocessing.evaluation.operations,
            size=self.preprocessing.size,
            training=asdict(self.parameters) | metrics,
            configuration=self.configuration,
        )


def read_task(
    untrained_model: Path, training_dataset: Path, validation_dataset: Path, parameters: Parameters, processes: int
) -> tuple[Task, nn.Module]:
    """What to train, and the network to begin with.

    Raises:
        DesignerError: an input cannot be used.
    """
    model, source = read_start(untrained_model)
    labels = tuple(source.configuration["classes"]) if source else model.labels
    training, validation = with_same_classes(
        labels,
        read_image_directory(training_dataset).labeled(),
        read_image_directory(validation_dataset, original_names=True).labeled(),
    )
    preprocessing = plan_preprocessing(
        training.folder, training.known_sizes(), training.transformation, training.random_operations
    )
    check_batches(model.architecture, training, preprocessing, parameters.batch_size, processes)
    network = initial_network(model, training.classes, parameters.torch_seed)
    configuration = configuration_of(parameters, model, network, training, validation, preprocessing)
    configuration["weights from"] = origin_of(model, parameters)
    if training.weighting != "none":
        configuration["weighting"] = training.weighting
    if (model.is_trained or model.pretrained) and model.labels != training.classes:
        configuration["new head"] = True
    if source is not None:  # it began from another folder's weights
        configuration |= {name: source.configuration[name] for name in BEGINNING if name in source.configuration}
    return Task(model, training, validation, preprocessing, parameters, configuration), network


def read_start(folder: Path) -> tuple[Model, Manifest | None]:
    """The model to start from; of a training that was stopped, what its last checkpoint says of it, and that checkpoint.

    Raises:
        InvalidModelDirectoryError: the folder is neither.
        CheckpointError: it has no checkpoint to go on from.
    """
    if (folder / CHECKPOINT).is_symlink():
        raise CheckpointError(f"{folder / CHECKPOINT} is a link; copy the folder that it leads to")
    if not is_unfinished(folder) or not (folder / CHECKPOINT).is_dir():
        return read_model_directory(folder), None
    found = Checkpoints(folder / CHECKPOINT).newest()
    if found is None:
        raise InvalidModelDirectoryError(f"{folder} is unfinished and has no checkpoint; run that training again")
    try:
        network = msgspec.convert(found.network, _Network)
        classes = msgspec.convert(found.configuration.get("classes"), list[str])
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{folder / CHECKPOINT / found.payload}: its manifest: {error}; run that training again") from error
    if network.model_name not in NETWORKS or len(classes) < 2 or len(set(classes)) < len(classes):
        raise CheckpointError(
            f"{folder / CHECKPOINT}: {network.model_name[:50]!r} with {len(classes)} classes is not one of our networks"
        )
    architecture = Architecture(network.model_name, network.zero_init_residual, network.memory_efficient)
    return Model(architecture, {}, mean=network.mean, std=network.std), found


class _Network(msgspec.Struct, forbid_unknown_fields=True):
    """What a checkpoint's manifest says of the network: an Architecture, and mean and std of its input."""

    model_name: str
    zero_init_residual: bool
    memory_efficient: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def with_same_classes(labels: tuple[str, ...], training: ImageIndex, validation: ImageIndex) -> tuple[ImageIndex, ImageIndex]:
    """Both sets with the network's classes: matched by name, whatever numbers each folder has.

    Args:
        labels: of a model to fine-tune, in its order; it is kept where its classes are the training set's.
        training: its classes decide, otherwise in their own order.
        validation: may lack some of them.

    Raises:
        InvalidDatasetError: training has only one class, or validation has one that training lacks.
    """
    if len(training.classes) < 2:
        raise InvalidDatasetError(f"{training.folder} has one class, {training.classes[0]!r}; at least two are needed to train")
    classes = labels if set(labels) == set(training.classes) else training.classes
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in validation.classes if name not in numbers]
    if unknown:
        raise InvalidDatasetError(
            f"{validation.folder} has classes that {training.folder} does not have: {', '.join(unknown[:5])}; "
            "both must come from the same set of classes"
        )

    def renumbered(index: ImageIndex) -> ImageIndex:
        return index.relabeled(classes, np.array([numbers[name] for name in index.classes], dtype=np.int32)[index.labels])

    return renumbered(training), renumbered(validation)


def class_weights(training: ImageIndex) -> tuple[float, ...]:
    """How much an image of each class counts in the loss, 1 on average over the images; empty where all count alike.

    `full` has every class count as much as any other; `square_root` is halfway. AutoML calls them `weighted_loss` 2 and 1.
    """
    if training.weighting == "none":
        return ()
    counts = np.bincount(training.labels, minlength=len(training.classes))
    weights = counts ** (-1.0 if training.weighting == "full" else -0.5)
    return tuple((weights * counts.sum() / (weights * counts).sum()).tolist())


def initial_network(model: Model, classes: tuple[str, ...], seed: int) -> nn.Module:
    """The network to start from: the same on every rank.

    An untrained one draws its weights from the seed; a pretrained or trained one keeps its own, with a new head of zeros unless
    the classes are the same.
    """
    if not model.is_trained and not model.pretrained:
        return builders.build(model.architecture, len(classes), seed)
    network = model.network()
    if model.labels != classes:
        builders.replace_head(network, len(classes))
    return network


def origin_of(model: Model, parameters: Parameters) -> str:
    """Where the initial weights come from."""
    return "a trained model" if model.is_trained else "ImageNet" if model.pretrained else f"seed {parameters.random_seed}"


def configuration_of(
    parameters: Parameters,
    model: Model,
    network: nn.Module,
    training: ImageIndex,
    validation: ImageIndex,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """All that decides what a training comes to, but the machine: what plain JSON holds."""
    weights = hashlib.blake2b(digest_size=16)
    for tensor in network.state_dict().values():
        weights.update(tensor.numpy().tobytes())
    return {
        **asdict(parameters),
        "network": model.architecture.model_name,
        "initial weights": weights.hexdigest(),
        **input_of(model),
        "classes": list(training.classes),
        "training images": training.fingerprint,
        "validation images": validation.fingerprint,
        "size": list(preprocessing.size),
        "operations": preprocessing.operations,
        "random operations": preprocessing.random_operations,
        "evaluation": preprocessing.evaluation.operations,
    }


def input_of(model: Model) -> dict[str, Any]:
    return {"mean": list(model.mean), "std": list(model.std)}


def versions() -> dict[str, Any]:
    """What may change between two runs of a job, but not between its ranks."""
    python = platform.python_version()
    return {"designer_vision": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__, "Python": python}


def facts_to_share(task: Task, precision: str) -> dict[str, str]:
    """What must be the same on every rank, by name."""
    facts = {name: str(value) for name, value in (dict(task.configuration) | versions()).items()}
    outlines = {"training images": task.training.outline, "validation images": task.validation.outline}
    return facts | outlines | {"precision": precision}
