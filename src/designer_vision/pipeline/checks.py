"""What is wrong with a pipeline and its data, known within seconds of the command: before azure-ai-ml is loaded and a step runs.

Azure's client checks neither ranges nor choices, and knows nothing of images. What cannot be told here is left to the client and
to the steps themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designer_vision.formats.manifest import is_unfinished, read_manifest
from designer_vision.formats.plain_folder import looks_packed, unwrap
from designer_vision.networks.architectures import NETWORKS, family_of, smallest_side
from designer_vision.pipeline.data_folders import check_images, closest, nearest, refuse_folders_around
from designer_vision.pipeline.graph import (
    ELSEWHERE,
    PIPELINE_INPUT,
    STEP_OUTPUT,
    OutputOf,
    Value,
    as_text,
    local_path,
    not_here,
    refuse_optional,
)
from designer_vision.pipeline.sweep_checks import check_sweep
from designer_vision.pipeline.yaml_files import local_file, read_pipeline, read_yaml
from designer_vision.runtime import values
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, InvalidModelDirectoryError, PipelineError

CHECKOUT = Path(__file__).parents[3]
"""Of the repository that this package runs from, where it does."""
CONVERT, TRAIN = "convert_to_image_directory", "train_pytorch_model"
PASSING_ON = {
    (CONVERT, "input_dataset"),
    ("split_image_directory", "input_image_directory"),
    ("balance_classes", "input_image_directory"),
    ("clean_image_directory", "input_image_directory"),
    ("apply_image_transformation", "input_image_directory"),
}
"""Component and port of images whose classes the component's output has."""
IMAGE_PORTS = PASSING_ON | {
    ("clean_image_directory", "image_directory_to_compare"),
    (TRAIN, "training_dataset"),
    (TRAIN, "validation_dataset"),
    ("score_image_model", "dataset"),
}
"""Component and port."""
MODEL_PORTS = {
    (TRAIN, "untrained_model"),
    ("score_image_model", "trained_model"),
    ("export_onnx", "trained_model"),
    ("evaluate_model", "trained_model"),
    ("resnet", "trained_model"),
    ("densenet", "trained_model"),
    ("image_network", "trained_model"),
}
SHRINKS = 32
"""Times that these networks make an image smaller before they pool it."""


@dataclass(frozen=True)
class Node:
    """A step as far as it can be told from the YAMLs alone.

    Attributes:
        name: its key under `jobs`.
        component: the component's name.
        declared: the component's inputs, as its YAML has them.
        given: a value for each input that has one, its default included; of a sweep, for those that are not searched.
        sources: the pipeline's input that a value came from, by port.
    """

    name: str
    component: str
    declared: Mapping[str, Mapping[str, Any]]
    given: Mapping[str, Value]
    sources: Mapping[str, str]

    def place(self, port: str) -> str:
        """What an error calls an input."""
        source = self.sources.get(port)
        return f"{self.name}.{port}" + (f" (the pipeline's input {source})" if source else "")


def check(path: Path, overrides: Mapping[str, str]) -> list[str]:
    """Check a pipeline's parameters, and the folders that it reads.

    Args:
        path: a `type: pipeline` YAML.
        overrides: values for inputs of the pipeline, or of a step (`STEP.PORT`).

    Returns:
        What is allowed and may not be meant, a sentence each.

    Raises:
        DesignerError: the first thing that is wrong, with the step, the input and the value.
    """
    find_pipeline(path)
    raw = read_pipeline(path)
    nodes = {node.name: node for node in read_nodes(path, raw, overrides)}
    check_names(path, raw, overrides, nodes)
    for node in nodes.values():
        check_parameters(node)
    check_counts(raw, overrides)
    found = []
    for name, node in nodes.items():
        found += check_sweep(name, raw["jobs"][name], node.declared, overrides)
        if node.component == TRAIN:
            found += check_sizes(node, nodes)
        for port, value in node.given.items():
            if isinstance(value, Path):
                check_data(node, port, value, needs_labels=feeds_training(node, port, nodes))
    return list(dict.fromkeys(found))


def read_nodes(path: Path, raw: Mapping[str, Any], overrides: Mapping[str, str]) -> Iterator[Node]:
    """The steps whose components are files of this machine, or are written into the pipeline."""
    inputs = _mapping(raw.get("inputs"))
    for name, job in raw["jobs"].items():
        component = _read_component(path, str(name), job)
        if component is None:
            continue
        given: dict[str, Value] = {}
        sources: dict[str, str] = {}
        all_declared = {port: _mapping(entry) for port, entry in _mapping(component.get("inputs")).items()}
        for port, declared in all_declared.items():
            if port in _mapping(job.get("search_space")):
                continue
            written = _mapping(job.get("inputs")).get(port, declared.get("default"))
            base, key, is_data = path.parent, f"{name}.{port}", str(declared.get("type")).startswith("uri_")
            if key not in overrides and (source := PIPELINE_INPUT.fullmatch(str(written))):
                sources[port] = key = source[1]
                written = inputs.get(source[1])
            if key in overrides:
                written, base = overrides[key], Path()
                if is_data and not written:
                    raise PipelineError(f"--input {key}= is empty; expected {key}=FOLDER")
            elif is_data and (elsewhere := address_of(written)):
                raise not_here(key, elsewhere)
            value = _resolved(written, is_data, base)
            if value is not None:
                given[port] = value
        yield Node(str(name), str(component.get("name")), all_declared, given, sources)


def find_pipeline(path: Path) -> None:
    """Refuse a path that is no file, with the pipeline that may be meant.

    Raises:
        PipelineError: it is a folder, or not there.
    """
    if path.is_file():
        return
    folders = [path if path.is_dir() else path.parent, CHECKOUT / "pipelines"]
    files = {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.y*ml"))}
    wrong = f"{path} is a folder" if path.is_dir() else f"{path} does not exist"
    if close := closest(path.stem, files):
        raise PipelineError(f"{wrong}; did you mean {files[close]}?")
    advice = "; there are " + ", ".join(str(file) for file in files.values()) if files else ""
    raise PipelineError(f"{wrong}; expected a pipeline's YAML{advice}")


def check_names(path: Path, raw: Mapping[str, Any], overrides: Mapping[str, str], nodes: Mapping[str, Node]) -> None:
    """Refuse a name behind --input that the pipeline and its steps do not have.

    Raises:
        PipelineError: with the nearest, or all that there are.
    """
    refuse_optional(raw.get("inputs"), path)
    inputs, jobs = [str(name) for name in _mapping(raw.get("inputs"))], [str(name) for name in raw["jobs"]]
    for name in overrides:
        step, dot, port = name.partition(".")
        if not dot:
            owner, wanted, known = f"{path} has no input", name, inputs
        elif step not in jobs:
            owner, wanted, known = f"{path} has no step", step, jobs
        elif step in nodes:
            owner, wanted, known = f"{path}: step {step} has no input", port, list(nodes[step].declared)
        else:  # of a component elsewhere, which the client knows
            continue
        if wanted not in known:
            close = closest(wanted, known)
            nearest_one = f"did you mean {close}? " if close else ""
            raise PipelineError(f"{owner} {wanted!r}; {nearest_one}it has {', '.join(known) or 'none'}")


def check_counts(raw: Mapping[str, Any], overrides: Mapping[str, str]) -> None:
    """Check of every step how many nodes and processes it asks for.

    Raises:
        DesignerError: that is no whole number from 1.
    """
    inputs = {**_mapping(raw.get("inputs")), **overrides}
    for name, job in raw["jobs"].items():
        for block, count in (("resources", "instance_count"), ("distribution", "process_count_per_instance")):
            written, place = _mapping(_mapping(job).get(block)).get(count), f"{name}.{count}"
            if source := PIPELINE_INPUT.fullmatch(str(written)):
                written, place = inputs.get(source[1]), f"{place} (the pipeline's input {source[1]})"
            if isinstance(written, (str, int)):
                values.check_range(place, values.integer(place, as_text(written)), 1, None)


def _read_component(path: Path, name: str, job: Any) -> Any:
    """The component's YAML; None where it is none of this machine's files, which the client knows more about."""
    written = job.get("trial" if job.get("type") == "sweep" else "component") if isinstance(job, dict) else None
    if isinstance(written, dict):
        return written
    if not isinstance(written, str) or ":" in written.removeprefix("file:"):
        return None
    if (file := local_file(written, path.parent)) is None:
        missing = path.parent / written.removeprefix("file:")
        ours = CHECKOUT / "component" / missing.name
        advice = f"; {ours} has it" if local_file(str(ours), path.parent) else ", relative to the pipeline's folder"
        raise PipelineError(
            f"{path}: step {name} has the component {written}, and {missing} is not there; give the path of its YAML{advice}"
        )
    component = read_yaml(file)
    return component if isinstance(component, dict) else None


def _mapping(written: Any) -> dict[str, Any]:
    """A YAML's mapping; an empty one where something else stands, which the client refuses in its own words."""
    return written if isinstance(written, dict) else {}


def address_of(written: Any) -> str:
    """Where data that is not on this machine lies, an asset or an address; empty for any other."""
    path = str(written.get("path") if isinstance(written, dict) else written)
    return path if ELSEWHERE.match(path) else ""


def _resolved(written: Any, is_data: bool, base: Path) -> Value | None:
    """A value as it reaches the step; None where there is none, or none that can be told here."""
    if isinstance(written, dict):
        written = written.get("path", written.get("default"))
    if written is None:
        return None
    if output := STEP_OUTPUT.fullmatch(str(written)):
        return OutputOf(*output.groups())
    if "${{" in str(written):
        return None
    return local_path(str(written), base) if is_data else as_text(written)


# Parameters


def check_parameters(node: Node) -> None:
    """Check type, range and choice of every parameter by what its component's YAML declares.

    Raises:
        DesignerError: as the component itself would.
    """
    for port, value in node.given.items():
        if isinstance(value, str):
            values.check_declared(node.place(port), value, node.declared[port])


def feeds_training(node: Node, port: str, nodes: Mapping[str, Node]) -> bool:
    """Whether the images at a port are what a training learns from, as far as our own components pass them on."""
    if node.component == TRAIN:
        return port == "training_dataset"
    passing = {node.name} if (node.component, port) in PASSING_ON else set[str]()
    while True:
        readers = [
            (other, name)
            for other in nodes.values()
            for name, value in other.given.items()
            if isinstance(value, OutputOf) and value.step in passing and (other.component, name) in IMAGE_PORTS
        ]
        if any(other.component == TRAIN and name == "training_dataset" for other, name in readers):
            return True
        more = {other.name for other, name in readers if (other.component, name) in PASSING_ON} - passing
        if not more:
            return False
        passing |= more


def check_sizes(train: Node, nodes: Mapping[str, Node]) -> list[str]:
    """Compare the size of the images that reach a training, where the steps before it set it, with what its network takes.

    Raises:
        InvalidDatasetError: the network cannot be trained on images of that size.
    """
    network = _writer_of(train, "untrained_model", nodes)
    if network is None or "trained_model" in network.given or "model_name" not in network.given:
        return []
    name, found = str(network.given["model_name"]), list[str]()
    if name not in NETWORKS:  # the network's own step will say so
        return []
    for port in ("training_dataset", "validation_dataset"):
        side, place = _side_of(train, port, nodes)
        smallest, only = smallest_side(name, int(str(train.given.get("batch_size", 2)))), family_of(name).only
        if side is not None and only and side != only:
            raise InvalidDatasetError(
                f"{place} makes images of {side} x {side} pixels, and {name} takes {only} x {only} only; choose that size"
            )
        if side is not None and side < smallest:
            raise InvalidDatasetError(
                f"{place} makes images of {side} x {side} pixels, and {name} takes {smallest} x {smallest} or more; "
                "choose a larger size"
            )
        if side is not None and side < SHRINKS:
            found.append(
                f"{place} makes images of {side} x {side} pixels; {name} shrinks them {SHRINKS}-fold: too little is left to see"
            )
    return found


def _writer_of(node: Node, port: str, nodes: Mapping[str, Node]) -> Node | None:
    value = node.given.get(port)
    return nodes.get(value.step) if isinstance(value, OutputOf) else None


def _side_of(train: Node, port: str, nodes: Mapping[str, Node]) -> tuple[int | None, str]:
    """The side of the images at a port, where Init Image Transformation makes them square, and which of its inputs says so."""
    apply = _writer_of(train, port, nodes)
    init = _writer_of(apply, "input_image_transformation", nodes) if apply else None
    if init is None or init.component != "init_image_transformation":
        return None, ""

    def is_on(name: str) -> bool:
        return str(init.given.get(name, "")).lower() == "true"

    inference = apply is not None and apply.given.get("mode") == "For inference"
    crops = [] if inference else ["random_crop", "random_resized_crop"]
    for switch in (*crops, "center_crop"):
        if is_on(switch):
            border = init.given.get("padding") if is_on("pad") and switch == "center_crop" else "0"
            padding = 2 * int(border) if isinstance(border, str) else 0
            size = {"center_crop": "crop_size"}.get(switch, f"{switch}_size")
            if not isinstance(init.given.get(size), str):
                break
            return int(str(init.given[size])) + padding, init.place(size)
    else:
        is_square = is_on("resize") and not is_on("pad") and init.given.get("shape") in ("padded", "squashed")
        if is_square and isinstance(init.given.get("size"), str):
            return int(str(init.given["size"])), init.place("size")
    return None, ""


# Folders


def check_data(node: Node, port: str, path: Path, needs_labels: bool) -> None:
    """Check what a step is given of this machine: that it is there, of the right kind and, for images, what is in it.

    Raises:
        PipelineError: there is no such path, or it is a file where a folder is meant, or a folder above or below the right one.
        InvalidDatasetError, NotLabeledDatasetError: the images cannot be trained on.
        InvalidModelDirectoryError: it is no model.
    """
    if not path.exists():
        raise PipelineError(f"{node.place(port)} is {path}, which does not exist; {nearest(path)}")
    if path.is_file():
        if node.component == CONVERT and looks_packed(path):
            return
        if str(node.declared[port].get("type")) == "uri_folder":
            raise PipelineError(f"{node.place(port)} is {path}, a file; expected a folder, such as {path.parent}")
        return
    if (node.component, port) in MODEL_PORTS:
        refuse_folders_around(path, "ModelDirectory", node.place(port))
        if node.component == TRAIN and is_unfinished(path):  # which it resumes
            return
        try:
            read_manifest(path, "ModelDirectory", InvalidModelDirectoryError)
        except DesignerError as error:
            raise type(error)(f"{node.place(port)}: {error.message}") from error
    inner, packed = unwrap(path) if node.component == CONVERT else (path, [])
    if (node.component, port) in IMAGE_PORTS and not packed:
        check_images(inner, needs_labels, node.place(port))
