"""A pipeline's YAML as the canvas shows it: steps with their ports, what each port gets, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from designer_vision.designer.components import Component, Components, Port, component_of, is_data, port_of
from designer_vision.pipeline.graph import PIPELINE_INPUT, STEP_OUTPUT, OutputOf, as_text
from designer_vision.runtime.errors import DesignerError, PipelineError

MOST_STEPS = 1000
"""More than anybody can look at; the runner takes any number."""
SETTINGS = {
    "distribution.process_count_per_instance": "processes on each node",
    "resources.instance_count": "nodes",
    "resources.instance_type": "kind of machine, on Azure ML",
    "compute": "compute, on Azure ML",
}
"""What else can be set of a step, by the place below it."""
LONGEST_SPACE = 200
"""Letters of what a sweep tries; a choice may have any number of values."""


@dataclass(frozen=True)
class InputOf:
    """The value of an input of the pipeline."""

    name: str


@dataclass(frozen=True)
class Searched:
    """One of the values that a sweep tries."""

    space: str


Value = str | OutputOf | InputOf | Searched
"""What a port gets: a text, another step's output, an input of the pipeline, or what a sweep tries."""


@dataclass(frozen=True)
class DrawnStep:
    """A step of the pipeline.

    Attributes:
        name: its key under `jobs`.
        written: what stands behind it.
        component: its component; None where that cannot be shown.
        missing: why not; empty where it can.
        inputs: what each port gets that gets anything.
    """

    name: str
    written: Mapping[str, Any]
    component: Component | None
    missing: str
    inputs: Mapping[str, Value]

    @property
    def limits(self) -> dict[str, Value]:
        """A sweep's limits, by the place below the step: numbers, or inputs of the pipeline."""
        limits = _mapping(self.written.get("limits")) if self.written.get("type") == "sweep" else {}
        return {f"limits.{name}": value for name, entry in limits.items() if (value := value_of(entry)) is not None}

    def port(self, name: str, inputs: Mapping[str, tuple[str, str | None]]) -> Port:
        """An input's port; of a component that cannot be shown, or does not have it, as far as the pipeline tells.

        Args:
            name: of the port.
            inputs: of the pipeline.
        """
        if self.component and name in self.component.inputs:
            return self.component.inputs[name]
        value = self.inputs.get(name)
        type_ = inputs[value.name][0] if isinstance(value, InputOf) and value.name in inputs else ""
        return replace(port_of(name, {"type": "uri_folder" if isinstance(value, OutputOf) else type_}), optional=True, kind="")


@dataclass(frozen=True)
class Drawing:
    """A pipeline as far as its YAML tells.

    Attributes:
        name: for people.
        steps: by name, in the file's order.
        inputs: of the pipeline: type and value of each.
        outputs: of the pipeline, and the step and port that each comes from.
    """

    name: str
    steps: Mapping[str, DrawnStep]
    inputs: Mapping[str, tuple[str, str | None]]
    outputs: Mapping[str, tuple[str, OutputOf | None]]


def draw(data: Any, file: Path, components: Components) -> Drawing:
    """What the canvas shows of a pipeline.

    Args:
        data: the content of its YAML.
        file: the YAML, from whose folder the paths of components lead.
        components: that may be read.

    Raises:
        PipelineError: it is no pipeline, or has too many steps.
    """
    if not isinstance(data, dict) or data.get("type") != "pipeline" or not isinstance(data.get("jobs", {}), (dict, type(None))):
        raise PipelineError(f"{file} is not a pipeline; expected `type: pipeline` and `jobs`")
    jobs = data.get("jobs") or {}
    if len(jobs) > MOST_STEPS:
        raise PipelineError(f"{file} has {len(jobs):,} steps; the canvas shows at most {MOST_STEPS:,}")
    read = cache(partial(_read, file=file, components=components))  # most steps share their component with others
    steps = {str(name): _step(str(name), job, file, read) for name, job in jobs.items()}
    inputs = {str(name): _input(entry) for name, entry in _mapping(data.get("inputs")).items()}
    from_steps = {
        output[1]: OutputOf(step.name, port)
        for step in steps.values()
        for port, entry in _mapping(step.written.get("outputs")).items()
        if (output := _pipeline_output(entry))
    }
    outputs = {
        str(name): (str(_mapping(entry).get("type", "uri_folder")), from_steps.get(str(name)))
        for name, entry in _mapping(data.get("outputs")).items()
    }
    return Drawing(str(data.get("display_name") or file.stem), steps, inputs, outputs)


def _step(name: str, job: Any, file: Path, read: Callable[[str], Component]) -> DrawnStep:
    written = _mapping(job)
    component, missing = None, ""
    try:
        component = _component(name, written, file, read)
    except DesignerError as error:
        missing = error.message
    given: dict[str, Value | None] = {str(port): value_of(entry) for port, entry in _mapping(written.get("inputs")).items()}
    searched = {str(port): Searched(_space(entry)) for port, entry in _mapping(written.get("search_space")).items()}
    return DrawnStep(
        name, written, component, missing, {port: value for port, value in (searched | given).items() if value is not None}
    )


def _space(written: Any) -> str:
    """`choice 16, 32, 64`, or `loguniform -9.2, -2.3`."""
    parts = [part for key, part in _mapping(written).items() if key != "type"]
    texts = [", ".join(map(as_text, part)) if isinstance(part, list) else as_text(part) for part in parts]
    text = f"{_mapping(written).get('type', 'searched')} {', '.join(texts)}"
    return text if len(text) <= LONGEST_SPACE else f"{text[: LONGEST_SPACE - 2]} …"


def _component(name: str, job: Mapping[str, Any], file: Path, read: Callable[[str], Component]) -> Component:
    """The component of a step, or of a sweep's trial.

    Raises:
        DesignerError: it is none of this machine's files, or cannot be read.
    """
    written = job.get("trial" if job.get("type") == "sweep" else "component")
    if isinstance(written, dict):
        return component_of(written, file)
    text = str(written or "").removeprefix("file:")
    if not text or ":" in text:
        raise PipelineError(f"step {name} has the component {written!r}, which is not on this machine")
    return read(text)


def _read(text: str, file: Path, components: Components) -> Component:
    """The component that a step of a pipeline's file names.

    Raises:
        DesignerError: it is not in a folder that may be read, or cannot be read.
    """
    try:
        path = (file.parent / text).resolve()
    except (ValueError, RuntimeError) as error:  # no name of a file, or links in a circle
        raise PipelineError(f"{text!r} is no path of a component: {error}") from error
    allowed = (file.parent.resolve(), *components.folders)
    if not any(path.is_relative_to(folder) for folder in allowed):
        raise PipelineError(f"{path} is in none of the folders that may be read; start with --components {path.parent}")
    return components.read(path)


def value_of(written: Any) -> Value | None:
    """What a port gets, from what is written for it."""
    if isinstance(written, dict):
        written = written.get("path", written.get("default"))
    if written is None:
        return None
    text = as_text(written)
    if output := STEP_OUTPUT.fullmatch(text):
        return OutputOf(*output.groups())
    if given := PIPELINE_INPUT.fullmatch(text):
        return InputOf(given[1])
    return text


def _input(entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, dict):
        value = entry.get("path", entry.get("default"))
        return str(entry.get("type", "string")), None if value is None else as_text(value)
    types = {bool: "boolean", int: "integer", float: "number"}
    return types.get(type(entry), "string"), None if entry is None else as_text(entry)


def _pipeline_output(entry: Any) -> tuple[str, str] | None:
    """`${{parent.outputs.NAME}}` as a pair with the name."""
    text = str(entry.get("path", "") if isinstance(entry, dict) else entry).replace(" ", "")
    prefix, suffix = "${{parent.outputs.", "}}"
    return (text, text[len(prefix) : -len(suffix)]) if text.startswith(prefix) and text.endswith(suffix) else None


def _mapping(written: Any) -> dict[str, Any]:
    return written if isinstance(written, dict) else {}


def setting(step: DrawnStep, place: str) -> str | None:
    """The value of one of SETTINGS; None where the step says nothing of it."""
    value: Any = step.written
    for key in place.split("."):
        value = _mapping(value).get(key)
    return None if value is None or isinstance(value, (dict, list)) else as_text(value)


# As JSON


def as_json(drawing: Drawing) -> dict[str, Any]:
    """Inputs, outputs, steps and edges, as the page takes them; each component once, however many steps have it."""
    used: dict[str, list[dict[str, str]]] = {name: [] for name in drawing.inputs}
    for step in drawing.steps.values():
        for port, value in (*step.inputs.items(), *step.limits.items()):
            if isinstance(value, InputOf) and value.name in used:
                used[value.name].append({"step": step.name, "port": port})
    components = {id(step.component): step.component for step in drawing.steps.values() if step.component}
    numbers = {key: number for number, key in enumerate(components)}
    return {
        "name": drawing.name,
        "inputs": [
            {"name": name, "type": type_, "is_data": is_data(type_), "value": value, "used_by": used[name]}
            for name, (type_, value) in drawing.inputs.items()
        ],
        "outputs": [
            {"name": name, "type": type_, "from": {"step": source.step, "port": source.output} if source else None}
            for name, (type_, source) in drawing.outputs.items()
        ],
        "components": list(map(component_as_json, components.values())),
        "settings": [{"path": place, "label": label} for place, label in SETTINGS.items()],
        "steps": [_step_as_json(step, drawing, numbers.get(id(step.component))) for step in drawing.steps.values()],
        "edges": list(_edges(drawing)),
    }


def component_as_json(component: Component) -> dict[str, Any]:
    """A component as the page takes it, for its palette and for the steps that have it."""
    return {
        "id": component.id,
        "name": component.name,
        "title": component.title,
        "description": component.description,
        "category": component.category,
        "command": component.command,
        "inputs": list(map(_port_as_json, component.inputs.values())),
        "outputs": list(map(_output_as_json, component.outputs.values())),
    }


def _step_as_json(step: DrawnStep, drawing: Drawing, component: int | None) -> dict[str, Any]:
    """A step: its values, and ports only where no component says them."""
    known = step.component.inputs if step.component else ()
    return {
        "name": step.name,
        "component": component,
        "missing": step.missing or None,
        "more_inputs": [_port_as_json(step.port(name, drawing.inputs)) for name in step.inputs if name not in known],
        "more_outputs": [] if step.component else [_output_as_json(port) for port in _outputs_told(step, drawing)],
        "values": {name: _value_as_json(value) for name, value in step.inputs.items()},
        "settings": {place: value for place in SETTINGS if (value := setting(step, place)) is not None},
    }


def _outputs_told(step: DrawnStep, drawing: Drawing) -> list[Port]:
    """The outputs of a step whose component cannot be shown, as far as the pipeline tells."""
    values = [value for other in drawing.steps.values() for value in other.inputs.values()]
    read = {value.output for value in values if isinstance(value, OutputOf) and value.step == step.name}
    written = set(map(str, _mapping(step.written.get("outputs"))))
    return [port_of(name, {"type": "uri_folder"}) for name in sorted(read | written)]


def _port_as_json(port: Port) -> dict[str, Any]:
    """An input of a component as the page takes it."""
    names = ("name", "type", "is_data", "kind", "optional", "default", "min", "max", "choices", "description")
    return {name: getattr(port, name) for name in names}


def _output_as_json(port: Port) -> dict[str, Any]:
    """An output of a component as the page takes it."""
    return {"name": port.name, "type": port.type, "kind": port.kind, "description": port.description}


def _value_as_json(value: Value) -> dict[str, str]:
    if isinstance(value, OutputOf):
        return {"step": value.step, "port": value.output}
    if isinstance(value, InputOf):
        return {"input": value.name}
    if isinstance(value, Searched):
        return {"searched": value.space}
    return {"text": value}


def _edges(drawing: Drawing) -> Iterator[dict[str, str]]:
    """Of data alone: lines from ten numbers to every step would hide the graph."""
    for step in drawing.steps.values():
        for port, value in step.inputs.items():
            source = None
            if isinstance(value, OutputOf) and value.step in drawing.steps:
                source = (f"step:{value.step}", value.output)
            elif isinstance(value, InputOf) and is_data(drawing.inputs.get(value.name, ("", None))[0]):
                source = (f"input:{value.name}", value.name)
            if source:
                yield _edge(*source, f"step:{step.name}", port)
    for name, (_, origin) in drawing.outputs.items():
        if origin:
            yield _edge(f"step:{origin.step}", origin.output, f"output:{name}", name)


def _edge(source: str, source_port: str, target: str, target_port: str) -> dict[str, str]:
    return {
        "id": f"{source}.{source_port}-{target}.{target_port}",
        "source": source,
        "source_port": source_port,
        "target": target,
        "target_port": target_port,
    }
