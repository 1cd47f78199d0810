"""ModelDirectory: an untrained or a trained network, as the classic designer lays it out.

    _meta.yaml           type, model: model_spec.yaml, our additions
    model_spec.yaml      which network, how its input is normalised, what its outputs are called
    model                torch.save of the state_dict, every torchvision key behind the prefix `model.`
    index_to_label.csv   trained models only: ",label", then "0,dog" ...
    _schema.json, _samples.json   trained models only: those of the training ImageDirectory

The module and class in the spec are names to recognise, never something to import.
"""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch
import yaml
from torch import Tensor, nn

from designer_vision import networks
from designer_vision.architectures import DENSENETS, RESNETS, Architecture
from designer_vision.directories.image_directory import SAMPLES, SCHEMA, schema
from designer_vision.directories.manifest import (
    Manifest,
    contained,
    hash_of_file,
    publishing,
    read_manifest,
    read_verified,
    write_json,
    write_manifest,
)
from designer_vision.errors import InvalidModelDirectoryError
from designer_vision.transforms import Operation, Size

TYPE = "ModelDirectory"
SPEC, WEIGHTS, LABELS = "model_spec.yaml", "model", "index_to_label.csv"
PREFIX = "model."
MODULES = "azureml.designer.modules.dl.pytorch.initialize_models.vision.classification"
FAMILIES = {
    (f"{MODULES}.resnet", "ResNet"): RESNETS,
    (f"{MODULES}.densenet", "DenseNet"): DENSENETS,
}
NORMALIZER = ("azureml.designer.core.model.model_spec.builtin_model_meta.pre_processor", "ImageNormalizer")


@dataclass(frozen=True)
class Model:
    """A network's description and weights; without labels it is untrained.

    Attributes:
        architecture: which network.
        weights: its state_dict by torchvision's own keys, float32 on the CPU.
        pretrained: the weights come from ImageNet and its 1000 classes, not from a training here.
        labels: what each output of a trained network is called.
        mean, std: of the RGB input (0 to 1) that the network expects.
        operations, size: what takes any photo to the network's input, height and width; None in classic folders.
        training: parameters and results of the training, for people.
        configuration: what the training was started with; the same again is not trained again.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor]
    pretrained: bool = False
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = networks.PLAIN_MEAN
    std: tuple[float, ...] = networks.PLAIN_STD
    operations: list[Operation] | None = None
    size: Size | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        return bool(self.labels)

    def network(self) -> nn.Module:
        """The network with its weights loaded; its head is as wide as the stored one."""
        network = networks.build(self.architecture, len(self.labels) or networks.IMAGENET_CLASSES)
        network.load_state_dict(self.weights)
        return network


# The spec, in the order of the file


class _Flavor(msgspec.Struct):
    name: str
    serialization_method: str


class _InitParams(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    model_name: str
    pretrained: bool
    zero_init_residual: bool | None = None
    memory_efficient: bool | None = None
    num_classes: int | None = None


class _FlavorExtras(msgspec.Struct, rename={"class_name": "class"}):
    module: str
    class_name: str
    init_params: _InitParams
    is_cuda: bool = False


class _NormalizerParams(msgspec.Struct):
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _PreProcessor(msgspec.Struct, rename={"class_name": "class"}):
    module: str
    class_name: str
    init_params: _NormalizerParams


class _Input(msgspec.Struct):
    name: str
    pre_processor: _PreProcessor


class _Spec(msgspec.Struct, omit_defaults=True):
    flavor: _Flavor
    model_file: str
    time_created: str
    flavor_extras: _FlavorExtras
    task_type: str = ""
    label_map_file: str = ""
    inputs: list[_Input] = []


# Reading


def read_model_directory(folder: Path) -> Model:
    """Read a model folder; nothing in it is executed or imported.

    Raises:
        InvalidModelDirectoryError: the folder is no finished ModelDirectory of a network we know, or its files do not
            fit together; with file, found and expected.
    """
    manifest = read_manifest(folder, TYPE, InvalidModelDirectoryError)
    spec_name = manifest.files.get("model", SPEC)
    spec = _read_spec(folder / spec_name, read_verified(folder, spec_name, manifest, InvalidModelDirectoryError))
    extras, params = spec.flavor_extras, spec.flavor_extras.init_params
    known = FAMILIES.get((extras.module, extras.class_name))
    if known is None or params.model_name not in known:
        raise InvalidModelDirectoryError(
            f"{folder / spec_name} names {extras.class_name} {params.model_name!r} of {extras.module}; "
            f"expected a network made by ResNet ({', '.join(RESNETS)}) or DenseNet ({', '.join(DENSENETS)})"
        )
    architecture = Architecture(params.model_name, bool(params.zero_init_residual), bool(params.memory_efficient))
    labels = _read_labels(folder, spec.label_map_file, manifest) if spec.label_map_file else ()
    weights = networks.fold_heads(_read_weights(folder, spec.model_file, manifest))
    _check_weights(folder / spec.model_file, architecture, len(labels) or networks.IMAGENET_CLASSES, weights)
    default = (networks.IMAGENET_MEAN, networks.IMAGENET_STD) if params.pretrained else (networks.PLAIN_MEAN, networks.PLAIN_STD)
    normalizer = spec.inputs[0].pre_processor.init_params if spec.inputs else _NormalizerParams(*default)
    size = manifest.ours.get("size")
    return Model(
        architecture,
        weights,
        params.pretrained,
        labels,
        normalizer.mean,
        normalizer.std,
        manifest.ours.get("transformation"),
        (int(size[0]), int(size[1])) if size else None,
        manifest.ours.get("training", {}),
        manifest.ours.get("configuration", {}),
    )


def _read_spec(path: Path, content: bytes) -> _Spec:
    try:
        loaded = yaml.load(content.decode("utf-8-sig"), Loader=_TextDates)  # noqa: S506 (a SafeLoader)
        return msgspec.convert(loaded, _Spec)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise InvalidModelDirectoryError(f"{path}: {' '.join(str(error).split())[:300]}") from error


class _TextDates(yaml.SafeLoader):
    """The safe loader, with dates left as text."""


_TextDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_labels(folder: Path, name: str, manifest: Manifest) -> tuple[str, ...]:
    text = read_verified(folder, name, manifest, InvalidModelDirectoryError).decode("utf-8-sig", "replace")
    rows = list(csv.reader(io.StringIO(text)))[1:]
    try:
        numbered = {int(row[0]): row[1] for row in rows if row}
    except (ValueError, IndexError) as error:
        raise InvalidModelDirectoryError(f'{folder / name}: {error}; expected ",label" and then lines like "0,dog"') from error
    if not numbered or sorted(numbered) != list(range(len(rows))):
        raise InvalidModelDirectoryError(f"{folder / name}: the indices are not 0 to {len(rows) - 1}, each once")
    return tuple(numbered[index] for index in range(len(numbered)))


def _read_weights(folder: Path, name: str, manifest: Manifest) -> dict[str, Tensor]:
    path = contained(folder, name, InvalidModelDirectoryError)
    if not path.is_file():
        raise InvalidModelDirectoryError(f"{path} is missing; expected the network's weights there")
    recorded = manifest.hash_of(name)
    if recorded is not None and recorded != hash_of_file(path):
        raise InvalidModelDirectoryError(f"{path} is not what was written: its hash differs; copy the folder again")
    if not zipfile.is_zipfile(path):
        raise InvalidModelDirectoryError(f"{path} is not a file that torch.save wrote (a zip), or it is cut short")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler and zip reader do
        raise InvalidModelDirectoryError(
            f"{path} is not a state_dict of plain tensors; save one with torch.save(network.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InvalidModelDirectoryError(f"{path} holds a {type(state).__name__}, expected a state_dict of tensors")
    return {str(key).removeprefix(PREFIX): tensor for key, tensor in state.items()}


def _check_weights(path: Path, architecture: Architecture, classes: int, weights: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        expected = networks.build(architecture, classes).state_dict()
    missing, unexpected = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or unexpected:
        raise InvalidModelDirectoryError(
            f"{path} does not fit {architecture.model_name}: missing {missing[:5]}, unexpected {unexpected[:5]}"
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise InvalidModelDirectoryError(
                f"{path} does not fit {architecture.model_name} with {classes} classes: {name} has shape "
                f"{list(tensor.shape)}, expected {list(expected[name].shape)}"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InvalidModelDirectoryError(f"{path}: {name} has values that are not finite; train the model again")


# Writing


def write_model_directory(folder: Path, model: Model, dataset: Path | None = None) -> None:
    """Write a model folder that the classic Score Image Model can load, its manifest last.

    Args:
        folder: empty, new, or already marked by `publishing`.
        model: what to write; the labels of a trained one go into index_to_label.csv.
        dataset: a trained model's ImageDirectory, whose schema and samples go along; None for a plain folder's.
    """
    with publishing(folder):
        write_model_files(folder, model, dataset)


def write_model_files(folder: Path, model: Model, dataset: Path | None = None) -> None:
    """The files of `write_model_directory`, for a folder that the caller publishes."""
    weights = {PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in model.weights.items()}
    torch.save(weights, folder / WEIGHTS)
    (folder / SPEC).write_text(_spec_text(model), encoding="utf-8")
    hashed = [WEIGHTS, SPEC]
    if model.is_trained:
        with (folder / LABELS).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("", "label"), *enumerate(model.labels)])
        hashed.append(LABELS)
        if dataset is not None and (dataset / SCHEMA).is_file():
            for name in (SCHEMA, SAMPLES):
                if (dataset / name).is_file():
                    shutil.copyfile(dataset / name, folder / name)
        else:
            write_json(folder / SCHEMA, schema(model.labels))
    ours = {
        "transformation": model.operations,
        "size": list(model.size) if model.size else None,
        "training": dict(model.training),
        "configuration": dict(model.configuration),
    }
    kept = {key: value for key, value in ours.items() if value}
    write_manifest(folder, Manifest(TYPE, {"model": SPEC}, kept), hashed)


def _spec_text(model: Model) -> str:
    resnet = model.architecture.is_resnet
    (module, class_name), _ = next(item for item in FAMILIES.items() if model.architecture.model_name in item[1])
    params = _InitParams(
        model.architecture.model_name,
        model.pretrained and not model.is_trained,  # a trained network's head is its own, also for a classic reader
        zero_init_residual=model.architecture.zero_init_residual if resnet else None,
        memory_efficient=None if resnet else model.architecture.memory_efficient,
        num_classes=len(model.labels) or None,
    )
    normalizer = _PreProcessor(*NORMALIZER, _NormalizerParams(tuple(model.mean), tuple(model.std)))  # type: ignore[arg-type]
    spec = _Spec(
        _Flavor("pytorch", "state_dict"),
        WEIGHTS,
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        _FlavorExtras(module, class_name, params),
        "MultiClassification",
        LABELS if model.is_trained else "",
        [_Input("image", normalizer)] if model.is_trained else [],
    )
    return yaml.safe_dump(msgspec.to_builtins(spec), sort_keys=False, allow_unicode=True)


def untrained(architecture: Architecture, pretrained: bool) -> Model:
    """A model to be trained: ImageNet's weights, or random ones that only a classic reader uses.

    Raises:
        PretrainedWeightsError: the weights could not be fetched.
    """
    if pretrained:
        weights: Mapping[str, Tensor] = networks.fetch_pretrained(architecture.model_name)
        return Model(architecture, weights, True, mean=networks.IMAGENET_MEAN, std=networks.IMAGENET_STD)
    return Model(architecture, networks.build(architecture, networks.IMAGENET_CLASSES, seed=0).state_dict())
