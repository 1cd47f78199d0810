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
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from designer_vision.data import transforms
from designer_vision.data.transforms import Operation, Size
from designer_vision.formats.image_directory import SAMPLES, SCHEMA, schema
from designer_vision.formats.manifest import (
    MANIFEST,
    Extension,
    Manifest,
    publishing,
    read_manifest,
    read_verified,
    write_json,
    write_manifest,
)
from designer_vision.formats.weights import read_weights
from designer_vision.networks import builders
from designer_vision.networks.architectures import DENSENET, NETWORKS, RESNET, Architecture
from designer_vision.runtime import files
from designer_vision.runtime.console import say
from designer_vision.runtime.description import MOST_JSON, MOST_YAML, from_yaml, to_yaml
from designer_vision.runtime.errors import InvalidDatasetError, InvalidModelDirectoryError

TYPE = "ModelDirectory"
SPEC, WEIGHTS, LABELS = "model_spec.yaml", "model", "index_to_label.csv"
PREFIX = "model."
MODULES = "azureml.designer.modules.dl.pytorch.initialize_models.vision.classification"
MODULE_CLASSES = {(f"{MODULES}.resnet", "ResNet"): RESNET.names, (f"{MODULES}.densenet", "DenseNet"): DENSENET.names} | {
    (f"{MODULES}.{name}", "ImageNetwork"): (name,) for name in NETWORKS if name not in RESNET.names + DENSENET.names
}
"""Module and class in a spec, and the networks of that class; a classic reader finds no module of the last ones, and names it."""
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
        temperature: that its logits are divided by, so that probabilities mean what they say.
        operations, size: what takes any photo to the network's input, height and width; None in classic folders.
        training: parameters and results of the training, for people.
        configuration: what the training was started with; the same again is not trained again.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor]
    pretrained: bool = False
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = builders.PLAIN_MEAN
    std: tuple[float, ...] = builders.PLAIN_STD
    operations: list[Operation] | None = None
    size: Size | None = None
    temperature: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        return bool(self.labels)

    def network(self) -> nn.Module:
        """The network with its weights loaded; its head is as wide as the stored one."""
        network = builders.build(self.architecture, len(self.labels) or builders.IMAGENET_CLASSES)
        network.load_state_dict(self.weights)
        return network


# The spec, in the order of the file


class _Flavor(msgspec.Struct):
    name: Literal["pytorch"]
    serialization_method: Literal["state_dict"]


class _InitParams(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    model_name: str
    pretrained: bool
    zero_init_residual: bool | None = None
    memory_efficient: bool | None = None
    num_classes: Annotated[int, msgspec.Meta(gt=0, le=10**6)] | None = None


class _FlavorExtras(msgspec.Struct, rename={"class_name": "class"}):
    module: str
    class_name: str
    init_params: _InitParams
    is_cuda: bool = False


_Mean = Annotated[float, msgspec.Meta(ge=-1000, le=1000)]
_Std = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class _NormalizerParams(msgspec.Struct):
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Std, _Std, _Std]


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
    name = manifest.model or SPEC
    path = folder / name
    content = read_verified(folder, name, manifest, InvalidModelDirectoryError, MOST_YAML)
    spec, architecture, normalizer = read_spec(path, content)
    params = spec.flavor_extras.init_params
    operations = transforms.check(manifest.ours.transformation, folder / MANIFEST, InvalidModelDirectoryError)
    labels = _read_labels(folder, spec.label_map_file, manifest) if spec.label_map_file else ()
    if params.num_classes not in (None, len(labels)):
        raise InvalidModelDirectoryError(
            f"{path} has num_classes {params.num_classes}, and label_map_file has {len(labels)} labels; copy the folder again"
        )
    classes = len(labels) or builders.IMAGENET_CLASSES
    is_classic = architecture.family in (RESNET, DENSENET)
    has_second_head = is_classic and params.pretrained and bool(labels)
    weights = _read_weights(folder, spec.model_file, manifest, architecture, classes, has_second_head)
    ours = manifest.ours
    if ours.temperature is not None and not labels:
        raise InvalidModelDirectoryError(
            f"{folder / MANIFEST} has a temperature of {ours.temperature:g} for an untrained model, expected none; make it again"
        )
    return Model(
        architecture,
        weights,
        params.pretrained,
        labels,
        normalizer.mean,
        normalizer.std,
        operations if ours.size else None,
        ours.size,
        ours.temperature or 1.0,
        ours.training,
        ours.configuration,
    )


def read_spec(path: Path, content: bytes) -> tuple[_Spec, Architecture, _NormalizerParams]:
    """A model_spec.yaml, and the network and the normalisation that it names.

    Raises:
        InvalidModelDirectoryError: with the line or the field.
    """
    spec = from_yaml(content, _Spec, path, InvalidModelDirectoryError)
    return spec, _architecture(path, spec.flavor_extras), _normalizer(path, spec)


def _normalizer(path: Path, spec: _Spec) -> _NormalizerParams:
    if not spec.inputs:
        imagenet = spec.flavor_extras.init_params.pretrained
        return _NormalizerParams(
            builders.IMAGENET_MEAN if imagenet else builders.PLAIN_MEAN, builders.IMAGENET_STD if imagenet else builders.PLAIN_STD
        )
    found = spec.inputs[0].pre_processor
    if len(spec.inputs) > 1 or (found.module, found.class_name) != NORMALIZER:
        raise InvalidModelDirectoryError(
            f"{path} has {len(spec.inputs)} inputs, first {found.class_name[:100]!r}; expected one with {NORMALIZER[1]!r}"
        )
    return found.init_params


def _architecture(path: Path, extras: _FlavorExtras) -> Architecture:
    """The network that a spec names, looked up in a closed table."""
    params = extras.init_params
    if params.model_name not in MODULE_CLASSES.get((extras.module, extras.class_name), ()):
        raise InvalidModelDirectoryError(
            f"{path} names {extras.class_name[:100]} {params.model_name[:100]!r} of {extras.module[:200]}; "
            f"expected a network made by ResNet, DenseNet or Image Network ({', '.join(NETWORKS)})"
        )
    return Architecture(params.model_name, bool(params.zero_init_residual), bool(params.memory_efficient))


def _read_labels(folder: Path, name: str, manifest: Manifest) -> tuple[str, ...]:
    content = read_verified(folder, name, manifest, InvalidModelDirectoryError, MOST_JSON)
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row][1:]
        numbered = {_whole_number(number): label for number, label in rows}
    except (ValueError, csv.Error) as error:
        raise InvalidModelDirectoryError(f'{folder / name}: {error}; expected ",label" and then lines like "0,dog"') from error
    if not numbered or sorted(numbered) != list(range(len(rows))):
        raise InvalidModelDirectoryError(f"{folder / name}: the indices are not 0 to {len(rows) - 1}, each once")
    labels = tuple(numbered[index] for index in range(len(numbered)))
    if len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise InvalidModelDirectoryError(f"{folder / name}: a label appears twice or is blank; copy the folder again")
    return labels


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise ValueError(f"{text[:50]!r} is not an index")
    return int(text)


def _read_weights(
    folder: Path, name: str, manifest: Manifest, architecture: Architecture, classes: int, has_second_head: bool
) -> dict[str, Tensor]:
    path = folder / name
    expected = builders.on_meta(architecture, builders.IMAGENET_CLASSES if has_second_head else classes).state_dict()
    if has_second_head:
        with torch.device("meta"):
            expected |= builders.second_head(classes)
    with files.opened(folder, name, InvalidModelDirectoryError) as file:
        recorded = manifest.hash_of(name)
        if recorded is None:
            say(f"warning: no hash of {path} is recorded, so a damaged byte would not be noticed")
        elif recorded != files.hash_of_open_file(file):
            raise InvalidModelDirectoryError(f"{path} is not what was written: its hash differs; copy the folder again")
        return builders.fold_heads(read_weights(file, path, expected))


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
            odd = any("\r" in label for label in model.labels)  # Python's reader takes a bare one for a line's end
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL)
            writer.writerows([("", "label"), *enumerate(model.labels)])
        hashed.append(LABELS)
        write_json(folder / SCHEMA, schema(model.labels))
        if dataset is not None and (dataset / MANIFEST).exists():
            for name in (SCHEMA, SAMPLES):
                _copy(dataset, name, folder)
    ours = Extension(
        transformation=model.operations or [],
        size=model.size,
        temperature=None if model.temperature == 1 else model.temperature,
        training=dict(model.training),
        configuration=dict(model.configuration),
    )
    write_manifest(folder, Manifest(TYPE, ours, model=SPEC), hashed)


def _copy(dataset: Path, name: str, folder: Path) -> None:
    """A file of the dataset that only classic readers use: one that cannot be read is left out."""
    try:
        content = files.read(dataset, name, InvalidDatasetError, MOST_JSON)
    except InvalidDatasetError as error:
        say(f"note: {error.message}; the model is complete without it")
    else:
        (folder / name).write_bytes(content)


def _spec_text(model: Model) -> str:
    architecture = model.architecture
    (module, class_name), _ = next(item for item in MODULE_CLASSES.items() if architecture.model_name in item[1])
    params = _InitParams(
        architecture.model_name,
        model.pretrained and not model.is_trained,  # a trained network's head is its own, also for a classic reader
        zero_init_residual=architecture.zero_init_residual if architecture.family is RESNET else None,
        memory_efficient=architecture.memory_efficient if architecture.family is DENSENET else None,
        num_classes=len(model.labels) or None,
    )
    params_of_input = _NormalizerParams(tuple(model.mean), tuple(model.std))  # type: ignore[arg-type]
    normalizer = _PreProcessor(*NORMALIZER, params_of_input)
    spec = _Spec(
        _Flavor("pytorch", "state_dict"),
        WEIGHTS,
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        _FlavorExtras(module, class_name, params),
        "MultiClassification",
        LABELS if model.is_trained else "",
        [_Input("image", normalizer)] if model.is_trained else [],
    )
    return to_yaml(spec)


def untrained(architecture: Architecture, pretrained: bool) -> Model:
    """A model to be trained: ImageNet's weights, or random ones that only a classic reader uses.

    Raises:
        PretrainedWeightsError: the weights could not be fetched.
    """
    if pretrained:
        weights: Mapping[str, Tensor] = builders.fetch_pretrained(architecture.model_name)
        return Model(architecture, weights, True, mean=builders.IMAGENET_MEAN, std=builders.IMAGENET_STD)
    return Model(architecture, builders.build(architecture, builders.IMAGENET_CLASSES, seed=0).state_dict())
