"""The output folder of Train PyTorch Model: is it finished, whose checkpoints does it hold, is there room."""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
import torchvision
from torch import nn

from designer_vision import __version__
from designer_vision.data.preprocessing import Preprocessing
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import MANIFEST, UNFINISHED, is_unfinished
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.networks.architectures import DENSENETS, RESNETS, Architecture
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import CheckpointError, FailedToWriteOutputsError, InvalidModelDirectoryError
from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints, Manifest, differences
from designer_vision.training.parameters import Parameters

WEIGHTS_ON_DISK = 10
"""How often the size of the weights: three checkpoints, two of them kept, of weights, momentum and best weights; the model."""


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
    if network.model_name not in (*RESNETS, *DENSENETS) or len(classes) < 2 or len(set(classes)) < len(classes):
        raise CheckpointError(
            f"{folder / CHECKPOINT}: no network of ours is {network.model_name[:50]!r} with {len(classes)} classes"
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


def input_of(model: Model) -> dict[str, Any]:
    return {"mean": list(model.mean), "std": list(model.std)}


def describe_configuration(
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


def versions() -> dict[str, Any]:
    """What may change between two runs of a job, but not between its ranks."""
    python = platform.python_version()
    return {"designer_vision": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__, "Python": python}


def is_already_trained(folder: Path, configuration: Mapping[str, Any]) -> bool:
    """Whether the output is finished and of this configuration.

    Raises:
        FailedToWriteOutputsError: it is finished and of another one; with the differences.
    """
    if (folder / UNFINISHED).exists() or not (folder / MANIFEST).exists():
        return False
    changed = differences(read_model_directory(folder).configuration, configuration)
    if changed:
        raise FailedToWriteOutputsError(
            f"the output folder {folder} holds a model of another training: {'; '.join(changed)}; give an empty or new folder"
        )
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)  # where the last attempt was killed after its last line
    say(f"{folder} is finished and of this configuration: nothing to do")
    return True


def find_checkpoint(checkpoints: Checkpoints, other: Path, expected: Manifest) -> bytes | None:
    """The state to go on from: the output's own, else that of the unfinished output connected as untrained_model.

    Raises:
        CheckpointError: what is there is damaged, or of another training.
    """
    for place in (checkpoints, Checkpoints(other / CHECKPOINT)):
        found = place.newest()
        if found is None:
            continue
        if changed := differences(found.configuration, expected.configuration):
            raise CheckpointError(
                f"{place.folder} holds the checkpoints of another training: {'; '.join(changed)}; "
                "start the training as it was, or give an empty or new folder"
            )
        for difference in differences(found.made_by, expected.made_by):
            say(f"warning: not bit by bit what it would have been: {difference}")
        if found.made_by.get("processes") != expected.made_by.get("processes"):
            say("the epoch's images that are left are redistributed; learning_rate is multiplied by the new number of processes")
        say(f"resuming after {found.position}, from {place.folder / found.payload}")
        return place.payload(found)
    return None


def check_room(folder: Path, network: nn.Module) -> None:
    """Refuse to start where the checkpoints and the model will not fit.

    Raises:
        FailedToWriteOutputsError: with what is needed and what is there.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(folder)
        weights = sum(tensor.nbytes for tensor in network.state_dict().values())
        needed = weights * WEIGHTS_ON_DISK + 2**20
        used = sum(path.stat().st_size for path in (folder / CHECKPOINT).glob("*"))
        if room.total > 0 and room.free + used < needed:
            raise FailedToWriteOutputsError(
                f"{folder} needs about {needed / 1e6:.0f} MB for checkpoints and the model and has {room.free / 1e6:.0f} MB; "
                "make room or give another output"
            )
