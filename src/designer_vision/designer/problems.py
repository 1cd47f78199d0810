"""What is wrong with a drawn pipeline, at the port where it is, in the words of the components' own errors; in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from designer_vision.designer.components import Port, is_data
from designer_vision.designer.drawing import Drawing, DrawnStep, InputOf, Searched, Value, setting
from designer_vision.pipeline.graph import ELSEWHERE, OutputOf
from designer_vision.pipeline.sweep_checks import check_sweep
from designer_vision.runtime import values
from designer_vision.runtime.errors import DesignerError
from designer_vision.runtime.files import at_home

COUNTS = ("distribution.process_count_per_instance", "resources.instance_count")
DESIGNER, AZURE = "designer", "azure"
A_FOLDER = {
    "": "a folder",
    "images": "images",
    "model": "a model",
    "transformation": "a transformation",
    "scores": "scored images",
}
"""What a port wants, by its kind."""


@dataclass(frozen=True)
class Problem:
    """A sentence about a port, or about a step, or about the pipeline.

    Attributes:
        step: empty for the pipeline itself.
        port: of the step, or an input of the pipeline; empty for all of it.
        text: what is wrong, and what to do.
        source: DESIGNER or AZURE, who says so.
    """

    step: str
    port: str
    text: str
    source: str = DESIGNER


def problems_of(drawing: Drawing, folder: Path) -> list[Problem]:
    """All that can be told without a look into the data.

    Args:
        drawing: of the pipeline.
        folder: of its YAML, from which paths of data lead.
    """
    if not drawing.steps:
        return [Problem("", "", "there is no step yet; drag a component onto the canvas, or search for one and press Enter")]
    found = [problem for step in drawing.steps.values() for problem in _of_step(step, drawing, folder)]
    found += _of_inputs(drawing, folder)
    return found + _circle(drawing)


def _of_step(step: DrawnStep, drawing: Drawing, folder: Path) -> Iterator[Problem]:
    if step.missing:
        yield Problem(step.name, "", step.missing)
        return
    assert step.component
    for name, port in step.component.inputs.items():
        if text := _of_port(step, port, drawing, folder):
            yield Problem(step.name, name, text)
    for name in step.inputs.keys() - step.component.inputs.keys():
        known = ", ".join(step.component.inputs) or "none"
        yield Problem(step.name, name, f"{step.component.title} has no input {name}; it has {known}")
    for place in COUNTS:
        count = setting(step, place)
        if count is not None and "${{" not in count and (text := _refusal(_count(place.rpartition(".")[2]), count)):
            yield Problem(step.name, place, text)
    if text := _of_sweep(step, drawing):
        yield Problem(step.name, "", text)


def _count(name: str) -> Port:
    return Port(name, "integer", False, "", True, None, 1, None, None, "")


def _of_sweep(step: DrawnStep, drawing: Drawing) -> str:
    """What a run would say of a sweep before its first step; empty where that is nothing, or the step is no sweep."""
    assert step.component
    declared = step.component.raw.get("inputs")
    entries = declared.items() if isinstance(declared, dict) else ()
    try:
        check_sweep(step.name, step.written, {str(name): entry if isinstance(entry, dict) else {} for name, entry in entries}, {})
    except DesignerError as error:
        return error.message
    texts = (_of_port_with(_count(f"{step.name}.{place}"), value, drawing) for place, value in step.limits.items())
    return next(filter(None, texts), "")


def _of_port(step: DrawnStep, port: Port, drawing: Drawing, folder: Path) -> str:
    """What is wrong with an input's value; empty where nothing is."""
    value = step.inputs.get(port.name)
    if value is None:
        if port.optional or port.default is not None:
            return ""
        return f"{port.name} needs {A_FOLDER.get(port.kind, 'a folder') if port.is_data else 'a value'}"
    return _of_port_with(port, value, drawing, folder)


def _of_port_with(port: Port, value: Value, drawing: Drawing, folder: Path = Path()) -> str:
    if isinstance(value, Searched):  # the sweep's own checks know its space
        return ""
    if isinstance(value, OutputOf):
        return _of_connection(port, value, drawing)
    if isinstance(value, InputOf):
        if value.name not in drawing.inputs:
            return f"{port.name} comes from the pipeline's input {value.name}, which does not exist"
        type_, text = drawing.inputs[value.name]
        if port.is_data != is_data(type_):
            return (
                f"{port.name} is {'data' if port.is_data else 'a parameter'}, and the pipeline's input {value.name} is a {type_}"
            )
        return "" if port.is_data or text is None else _refusal(port, text)
    return _of_path(port.name, value, folder) if port.is_data else _refusal(port, value)


def _of_connection(port: Port, value: OutputOf, drawing: Drawing) -> str:
    source = drawing.steps.get(value.step)
    if source is None:
        return f"{port.name} comes from the step {value.step}, which does not exist"
    if source.component is None:
        return ""
    if value.output not in source.component.outputs:
        known = ", ".join(source.component.outputs) or "none"
        return f"{port.name} comes from {value.step}.{value.output}, which does not exist; {value.step} has {known}"
    if not port.is_data:
        return f"{port.name} is a parameter and takes no output of a step"
    kind = source.component.outputs[value.output].kind
    if port.kind and kind and kind != port.kind:
        wanted, found = A_FOLDER.get(port.kind, port.kind), A_FOLDER.get(kind, kind)
        return f"{port.name} wants {wanted}, and {value.step}.{value.output} is {found}"
    return ""


def _refusal(port: Port, text: str) -> str:
    """What the component itself would say of a parameter's value."""
    try:
        if parse := values.PARSERS.get(port.type):
            parsed = parse(port.name, text)
            if port.type != "boolean":
                values.check_range(port.name, parsed, port.min, port.max)
        if port.choices is not None:
            values.check_choice(port.name, text, port.choices)
    except DesignerError as error:
        return error.message
    return ""


def _of_path(name: str, text: str, folder: Path) -> str:
    if ELSEWHERE.match(text):
        return ""  # Azure ML knows it; a run on this machine says that it does not
    given = at_home(text)
    where = "" if given.is_absolute() else f" in {folder.absolute()}"
    try:
        return "" if (folder / given).exists() else f"{name} is {text}, which does not exist{where}"
    except OSError as error:
        return f"{name} is {text}, which cannot be read: {error.strerror}"


def _of_inputs(drawing: Drawing, folder: Path) -> Iterator[Problem]:
    """Of the pipeline's inputs that are data."""
    for name, (type_, value) in drawing.inputs.items():
        if not is_data(type_):
            continue
        if value is not None and (text := _of_path(name, value, folder)):
            yield Problem("", name, text)
        elif value is None and (needing := _needing(name, drawing)):
            yield Problem("", name, f"{name} has no path, and {needing} needs it")


def _needing(name: str, drawing: Drawing) -> str:
    """A step that cannot do without an input of the pipeline."""
    for step in drawing.steps.values():
        for port, value in step.inputs.items():
            if value == InputOf(name) and not step.port(port, drawing.inputs).optional:
                return step.name
    return ""


def _circle(drawing: Drawing) -> list[Problem]:
    needs = {
        step.name: {value.step for value in step.inputs.values() if isinstance(value, OutputOf) and value.step in drawing.steps}
        for step in drawing.steps.values()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        text = f"the steps wait for each other in a circle: {' -> '.join(circle)}"
        return [
            Problem(step, port, text)
            for step in dict.fromkeys(circle)
            for port, value in drawing.steps[step].inputs.items()
            if isinstance(value, OutputOf) and value.step in circle
        ]
    return []
