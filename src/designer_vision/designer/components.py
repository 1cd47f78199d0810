"""The components that can be dragged: what their YAML files declare, and which kind of folder each of their ports means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designer_vision.pipeline.checks import CHECKOUT
from designer_vision.pipeline.graph import as_text
from designer_vision.pipeline.yaml_files import read_yaml
from designer_vision.runtime.errors import DesignerError, PipelineError

OURS = CHECKOUT / "component"
IMAGES, MODEL, TRANSFORMATION, SCORES, RESULTS = "images", "model", "transformation", "scores", "results"
KINDS = {
    "input_image_directory": IMAGES,
    "output_image_directory": IMAGES,
    "output_image_directory1": IMAGES,
    "output_image_directory2": IMAGES,
    "image_directory_to_compare": IMAGES,
    "training_dataset": IMAGES,
    "validation_dataset": IMAGES,
    "dataset": IMAGES,
    "untrained_model": MODEL,
    "trained_model": MODEL,
    "input_image_transformation": TRANSFORMATION,
    "output_image_transformation": TRANSFORMATION,
    "scored_dataset": SCORES,
    "scored_dataset_to_compare": SCORES,
    "evaluation_results": RESULTS,
    "onnx_model": "onnx",
}
"""Kinds of folders by the name of a port: our components name theirs alike. Others are of any kind."""
MOST_FILES = 1000
"""YAML files that are looked at in a folder of components."""
DATA_TYPES = ("uri_", "mltable", "mlflow_model", "triton_model", "custom_model")


@dataclass(frozen=True)
class Port:
    """An input or an output of a component, as its YAML declares it.

    Attributes:
        name: of the port.
        type: integer, number, boolean, string, uri_folder, …
        is_data: whether it is a folder or a file, and not a parameter.
        kind: of folder; empty for any.
        optional: whether it may be left without a value.
        default: the value that it has then.
        min, max: of a number.
        choices: all that it may be.
        description: for people.
    """

    name: str
    type: str
    is_data: bool
    kind: str
    optional: bool
    default: str | None
    min: float | None
    max: float | None
    choices: tuple[str, ...] | None
    description: str


@dataclass(frozen=True)
class Component:
    """What a component's YAML says.

    Attributes:
        file: the YAML.
        name, title, description, category: of the component.
        command: its line, with places for values.
        inputs, outputs: its ports by name.
        raw: all of the YAML.
    """

    file: Path
    name: str
    title: str
    description: str
    category: str
    command: str
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What the page calls it: the path of its file."""
        return str(self.file)


def is_data(type_: str) -> bool:
    """Whether a type is a folder, a file or a model."""
    return type_.startswith(DATA_TYPES)


class Components:
    """The components of some folders, read again when their files change."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folder.resolve() for folder in folders)
        self._read: dict[Path, tuple[tuple[int, int], Component]] = {}

    def all(self) -> list[Component]:
        """Every component of the folders, in the order of categories and titles; files that are none are passed over.

        Of several with one name the first folder's counts.
        """
        found: dict[str, Component] = {}
        for folder in self.folders:
            for file in sorted(folder.glob("*.y*ml"))[:MOST_FILES]:
                try:
                    component = self.read(file)
                except DesignerError:  # its node says why, where a pipeline names it
                    continue
                found.setdefault(component.name, component)
        return sorted(found.values(), key=lambda component: (component.category, component.title))

    def read_allowed(self, file: Path) -> Component:
        """A component of the folders, by its file.

        Raises:
            DesignerError: it is in none of the folders, cannot be read, or is no command component.
        """
        if not any(file.resolve().is_relative_to(folder) for folder in self.folders):
            raise PipelineError(f"{file} is in none of the folders that may be read; start with --components {file.parent}")
        return self.read(file)

    def read(self, file: Path) -> Component:
        """A component, by its file, wherever that is.

        Raises:
            DesignerError: it cannot be read, or is no command component.
        """
        file = file.resolve()
        try:
            status = file.stat()
        except OSError as error:
            raise PipelineError(f"{file} cannot be read: {error.strerror}") from error
        state = (status.st_mtime_ns, status.st_size)
        if self._read.get(file, (None,))[0] != state:
            self._read[file] = (state, component_of(read_yaml(file), file))
        return self._read[file][1]


def component_of(raw: Any, file: Path) -> Component:
    """A component from the content of its YAML.

    Raises:
        DesignerError: it is no command component.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("command"), str) or raw.get("type", "command") != "command":
        raise PipelineError(f"{file} is no command component; expected `type: command` and `command`")
    name = str(raw.get("name") or file.stem)
    tags = raw.get("tags")
    return Component(
        file,
        name,
        str(raw.get("display_name") or name),
        " ".join(str(raw.get("description") or "").split()),
        str(tags.get("category") or "") if isinstance(tags, dict) else "",
        raw["command"],
        _ports(raw.get("inputs")),
        _ports(raw.get("outputs")),
        raw,
    )


def _ports(declared: Any) -> dict[str, Port]:
    entries = declared.items() if isinstance(declared, dict) else ()
    return {str(name): port_of(str(name), entry if isinstance(entry, dict) else {}) for name, entry in entries}


def port_of(name: str, entry: Mapping[str, Any]) -> Port:
    """A port from what is declared of it."""
    type_, choices = str(entry.get("type", "")), entry.get("enum")
    return Port(
        name,
        type_,
        is_data(type_),
        KINDS.get(name, "") if is_data(type_) else "",
        entry.get("optional") is True,
        as_text(entry["default"]) if entry.get("default") is not None else None,
        _number(entry.get("min")),
        _number(entry.get("max")),
        tuple(map(as_text, choices)) if isinstance(choices, list) else None,
        " ".join(str(entry.get("description") or "").split()),
    )


def _number(value: Any) -> float | None:
    """A limit; none where it is no number, or one without an end, for which JSON has no word."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None
