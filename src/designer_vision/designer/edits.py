"""What a person does on the canvas, as changes to the pipeline's YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from designer_vision.designer.components import Component, Port, is_data
from designer_vision.designer.drawing import SETTINGS, Drawing, DrawnStep, InputOf, Searched
from designer_vision.designer.edit_kinds import (
    Add,
    AddInput,
    AddOutput,
    AnyEdit,
    Connect,
    ConnectOutput,
    Describe,
    Disconnect,
    Duplicate,
    Remove,
    RemoveInput,
    RemoveOutput,
    Rename,
    RenameInput,
    Set,
    SetInput,
    Setting,
    Source,
)
from designer_vision.designer.yaml_text import YamlText
from designer_vision.pipeline.graph import OutputOf
from designer_vision.runtime.errors import DesignerError, PipelineError
from designer_vision.runtime.values import PARSERS

NAME = re.compile(r"[a-z_][a-z0-9_]{0,99}")
"""Names that Azure ML takes for steps, inputs and outputs."""
LONGEST = 10_000
"""Letters of a value."""


def apply(edit: AnyEdit, yaml: YamlText, drawing: Drawing, file: Path, read: Callable[[Path], Component]) -> None:
    """Make the change in the text.

    Args:
        edit: what was done.
        yaml: the pipeline's text, which is changed.
        drawing: what the text says now.
        file: where the text will lie, for the paths of components.
        read: reads a component of those that may be read.

    Raises:
        DesignerError: it cannot be done, and why.
    """
    match edit:
        case Add(component, name):
            _add(read(Path(component)), name, yaml, drawing, file)
        case Remove(steps):
            _remove(steps, yaml, drawing)
        case Duplicate(steps):
            _duplicate(steps, yaml, drawing)
        case Rename(step, to):
            _rename_step(_step(step, drawing), to, yaml, drawing)
        case Set(step, port, text):
            _set(_step(step, drawing), port, text, yaml, drawing)
        case Connect(step, port, source):
            _connect(_step(step, drawing), port, source, yaml, drawing)
        case Disconnect(step, port):
            _set(_step(step, drawing), port, None, yaml, drawing)
        case Setting(step, path, text):
            _set_setting(_step(step, drawing), path, text, yaml)
        case AddInput(name, type_, text):
            _add_input(_free(name, drawing.inputs, "input"), type_, text, yaml)
        case SetInput(name, text):
            _set_input(_known(name, drawing.inputs, "input"), drawing.inputs[name][0], text, yaml)
        case RenameInput(name, to):
            _rename_input(name, _free(to, drawing.inputs, "input"), yaml, drawing)
        case RemoveInput(name):
            _remove_input(_known(name, drawing.inputs, "input"), yaml, drawing)
        case AddOutput(name, source):
            _add_output(_free(name, drawing.outputs, "output"), source, yaml, drawing)
        case ConnectOutput(name, source):
            _connect_output(_known(name, drawing.outputs, "output"), source, yaml, drawing)
        case RemoveOutput(name):
            _remove_output(_known(name, drawing.outputs, "output"), yaml, drawing)
        case Describe(text):
            yaml.set(["display_name"], _checked(text))


# Steps


def _add(component: Component, name: str, yaml: YamlText, drawing: Drawing, file: Path) -> None:
    wanted = name or re.sub(r"[^a-z0-9_]", "_", component.name.lower())
    free = _next_free(wanted if NAME.fullmatch(wanted) else f"step_{wanted}"[:90], drawing.steps)
    path = os.path.relpath(component.file, file.parent)
    yaml.set(["jobs", free], {"type": "command", "component": path if path.startswith(".") else f"./{path}"})


def _next_free(name: str, there: Collection[str]) -> str:
    """The name, or with a number behind it where it is taken."""
    number, free = 2, _checked_name(name)
    while free in there:
        free, number = f"{name}_{number}", number + 1
    return free


def _remove(steps: list[str], yaml: YamlText, drawing: Drawing) -> None:
    gone = {_step(step, drawing).name for step in steps}
    for step in drawing.steps.values():
        for port, value in step.inputs.items():
            if step.name not in gone and isinstance(value, OutputOf) and value.step in gone:
                yaml.remove(["jobs", step.name, "inputs", port])
    for name, (_, source) in drawing.outputs.items():
        if source and source.step in gone:
            yaml.remove(["outputs", name])
    if gone == drawing.steps.keys():
        yaml.set(["jobs"], {})
        return
    yaml.remove_several(["jobs"], gone)


def _duplicate(steps: list[str], yaml: YamlText, drawing: Drawing) -> None:
    names: dict[str, str] = {}
    for step in steps:
        names[step] = _next_free(_step(step, drawing).name, {*drawing.steps, *names.values()})
    for step, name in names.items():
        written = {key: value for key, value in drawing.steps[step].written.items() if key != "outputs"}
        yaml.set(["jobs", name], _with_steps_renamed(_plain(written, step), names))


def _plain(written: Any, step: str) -> Any:
    """What can be written anew: mappings and lists of texts, numbers and truth values."""
    if isinstance(written, Mapping):
        return {str(key): _plain(value, step) for key, value in written.items() if value is not None}
    if isinstance(written, list):
        return [_plain(value, step) for value in written]
    if isinstance(written, (str, int, float)):
        return written
    raise PipelineError(f"step {step} has a date, or nothing, in its YAML; copy it in an editor")


def _with_steps_renamed(written: Any, names: Mapping[str, str]) -> Any:
    if isinstance(written, dict):
        return {key: _with_steps_renamed(value, names) for key, value in written.items()}
    if isinstance(written, list):
        return [_with_steps_renamed(value, names) for value in written]
    return _renamed(written, names) if isinstance(written, str) else written


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """A text whose reference to a step's output has the step's other name."""
    pattern = r"(\$\{\{\s*parent\.jobs\.)(\w+)(\.outputs\.)"
    return re.sub(pattern, lambda match: match[1] + names.get(match[2], match[2]) + match[3], text)


def _rename_step(step: DrawnStep, to: str, yaml: YamlText, drawing: Drawing) -> None:
    _free(to, drawing.steps, "step")
    for other in drawing.steps.values():
        for port, value in other.inputs.items():
            if isinstance(value, OutputOf) and value.step == step.name:
                _write_reference(["jobs", other.name, "inputs", port], Source(to, value.output), yaml)
    yaml.rename(["jobs", step.name], to)


# Ports


def _set(step: DrawnStep, port: str, text: str | None, yaml: YamlText, drawing: Drawing) -> None:
    _refuse_searched(step, port)
    path = ["jobs", step.name, "inputs", port]
    if text is None:
        if port in step.inputs:
            yaml.remove(path)
        return
    declared = step.port(port, drawing.inputs)
    if not declared.is_data:
        yaml.set(path, typed(_checked(text), declared.type))
    elif isinstance(_written(path, yaml), dict):
        yaml.set([*path, "path"], _checked(text))
    else:
        yaml.set(path, {"type": declared.type, "path": _checked(text)})


def _connect(step: DrawnStep, port: str, source: Source, yaml: YamlText, drawing: Drawing) -> None:
    _refuse_searched(step, port)
    if source.input:
        _known(source.input, drawing.inputs, "input")
    else:
        writer = _step(source.step, drawing)
        if writer.component and source.port not in writer.component.outputs:
            raise PipelineError(f"{source.step} has no output {source.port}; it has {', '.join(writer.component.outputs)}")
        if _reaches(step.name, source.step, drawing):
            raise PipelineError(f"{source.step} already waits for {step.name}: they would wait for each other in a circle")
    _write_reference(["jobs", step.name, "inputs", port], source, yaml)


def _write_reference(path: list[str], source: Source, yaml: YamlText) -> None:
    """A whole input, or the path of one that is written with its type."""
    written = _written(path, yaml)
    if isinstance(written, dict) and "path" in written and "mode" in written:  # how it is mounted, which somebody chose
        yaml.set([*path, "path"], source.reference())
    else:
        yaml.set(path, source.reference())


def _reaches(start: str, end: str, drawing: Drawing) -> bool:
    """Whether what a step writes is read, at last, by another; a step reaches itself."""
    waiting, seen = [end], set[str]()
    while waiting:
        name = waiting.pop()
        if name == start:
            return True
        if name not in seen and name in drawing.steps:
            seen.add(name)
            waiting += [value.step for value in drawing.steps[name].inputs.values() if isinstance(value, OutputOf)]
    return False


def _refuse_searched(step: DrawnStep, port: str) -> None:
    if isinstance(step.inputs.get(port), Searched):
        raise PipelineError(f"{port} is one of the values that the sweep {step.name} searches; change search_space in an editor")


def _written(path: list[str], yaml: YamlText) -> Any:
    value: Any = yaml.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _set_setting(step: DrawnStep, place: str, text: str | None, yaml: YamlText) -> None:
    if place not in SETTINGS:
        raise PipelineError(f"a step has no setting {place!r}; it has {', '.join(SETTINGS)}")
    path = ["jobs", step.name, *place.split(".")]
    if text is None:
        if _written(path, yaml) is not None:
            yaml.remove(path)
        return
    if place.startswith("distribution.") and _written(path[:-1], yaml) is None:
        declared = step.component.raw.get("distribution") if step.component else None
        yaml.set([*path[:-1], "type"], declared["type"] if isinstance(declared, dict) and "type" in declared else "pytorch")
    yaml.set(path, typed(_checked(text), "integer" if place.endswith("count") or "count_per" in place else "string"))


def typed(text: str, type_: str) -> bool | int | float | str:
    """A parameter's value as YAML will read it; what is no value of its type stays a text, and is a problem to be shown."""
    if text.startswith("${{") or type_ not in PARSERS:
        return text
    try:
        value: bool | int | float = PARSERS[type_]("", text)
    except DesignerError:
        return text
    return value


# Inputs and outputs of the pipeline


def _add_input(name: str, type_: str, text: str | None, yaml: YamlText) -> None:
    if not is_data(type_):
        yaml.set(["inputs", name], typed(_checked(text or ""), type_))
    else:
        yaml.set(["inputs", name], {"type": type_} | ({} if text is None else {"path": _checked(text)}))


def _set_input(name: str, type_: str, text: str | None, yaml: YamlText) -> None:
    path = ["inputs", name]
    entry = _written(path, yaml)
    if isinstance(entry, dict):
        path = [*path, "path" if is_data(type_) else "default"]
    if text is not None:
        yaml.set(path, typed(_checked(text), type_))
    elif isinstance(entry, dict) and path[-1] in entry:
        yaml.remove(path)
    elif not isinstance(entry, dict):
        raise PipelineError(f"input {name} is a parameter and needs a value; remove it if nothing reads it")


def _rename_input(name: str, to: str, yaml: YamlText, drawing: Drawing) -> None:
    _known(name, drawing.inputs, "input")
    pattern = re.compile(rf"(\$\{{\{{\s*parent\.inputs\.){re.escape(name)}(\s*\}}\}})")
    for step in drawing.steps.values():
        for path, text in _texts(step.written, ["jobs", step.name]):
            if pattern.fullmatch(text):
                yaml.set(path, f"${{{{parent.inputs.{to}}}}}")
    yaml.rename(["inputs", name], to)


def _texts(written: Any, path: list[str]) -> list[tuple[list[str], str]]:
    """All texts in nested mappings, with the keys that lead there."""
    if isinstance(written, Mapping):
        return [found for key, value in written.items() for found in _texts(value, [*path, str(key)])]
    return [(path, written)] if isinstance(written, str) else []


def _remove_input(name: str, yaml: YamlText, drawing: Drawing) -> None:
    for step in drawing.steps.values():
        for port, value in step.inputs.items():
            if value == InputOf(name):
                yaml.remove(["jobs", step.name, "inputs", port])
        for place, value in step.limits.items():
            if value == InputOf(name):
                yaml.remove(["jobs", step.name, *place.split(".", 1)])
    yaml.remove(["inputs", name])


def _add_output(name: str, source: Source, yaml: YamlText, drawing: Drawing) -> None:
    type_ = _output_port(source, drawing).type
    yaml.set(["outputs", name], {"type": type_ if type_ == "uri_file" else "uri_folder"})
    yaml.set(["jobs", source.step, "outputs", source.port], f"${{{{parent.outputs.{name}}}}}")


def _connect_output(name: str, source: Source, yaml: YamlText, drawing: Drawing) -> None:
    """Have another step give the output; what is written of it, such as its path, stays."""
    _output_port(source, drawing)
    _, before = drawing.outputs[name]
    if before:
        yaml.remove(["jobs", before.step, "outputs", before.output])
    yaml.set(["jobs", source.step, "outputs", source.port], f"${{{{parent.outputs.{name}}}}}")


def _output_port(source: Source, drawing: Drawing) -> Port:
    step = _step(source.step, drawing)
    if step.component is None or source.port not in step.component.outputs:
        raise PipelineError(f"{source.step} has no output {source.port}")
    return step.component.outputs[source.port]


def _remove_output(name: str, yaml: YamlText, drawing: Drawing) -> None:
    _, source = drawing.outputs[name]
    if source:
        yaml.remove(["jobs", source.step, "outputs", source.output])
    yaml.remove(["outputs", name])


# What is refused


def _step(name: str, drawing: Drawing) -> DrawnStep:
    _known(name, drawing.steps, "step")
    return drawing.steps[name]


def _known(name: str, there: Mapping[str, Any], what: str) -> str:
    if name not in there:
        raise PipelineError(f"there is no {what} {name!r} any more; it has {', '.join(there) or 'none'}")
    return name


def _free(name: str, there: Mapping[str, Any], what: str) -> str:
    if _checked_name(name) in there:
        raise PipelineError(f"the name {name} is taken by another {what}")
    return name


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise PipelineError(f"{name!r} is not a name that Azure ML takes; expected small letters, digits and _, such as train_2")
    return name


def _checked(text: str) -> str:
    if len(text) > LONGEST or any(not (letter.isprintable() or letter == " ") for letter in text):
        raise PipelineError(f"a value has at most {LONGEST:,} letters, in one line")
    return text
