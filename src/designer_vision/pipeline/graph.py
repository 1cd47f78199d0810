"""A pipeline YAML, loaded and checked by azure-ai-ml, as steps with their values filled in."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from designer_vision.pipeline.sweep import Sweep, read_sweep
from designer_vision.pipeline.yaml_files import read_pipeline
from designer_vision.runtime.errors import PipelineError
from designer_vision.runtime.files import at_home

STEP_OUTPUT = re.compile(r"\$\{\{\s*parent\.jobs\.(\w+)\.outputs\.(\w+)\s*\}\}")
PIPELINE_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.(\w+)\s*\}\}")

ELSEWHERE = re.compile(r"[a-z0-9+]+:", re.IGNORECASE)
"""How the path of an asset or an address begins."""


@dataclass(frozen=True)
class OutputOf:
    """The folder that another step writes."""

    step: str
    output: str


Value = str | Path | OutputOf
"""What an input gets: a parameter's text, a path of this machine, or another step's folder."""


@dataclass(frozen=True)
class Step:
    """One node of the graph, as Azure ML would start it.

    Attributes:
        name: its key under `jobs`.
        command: the component's line, with `${{inputs.x}}`, `${{outputs.x}}` and `$[[optional parts]]`.
        code: the folder that the command runs in.
        inputs: values by name; an optional input that got none is not here.
        outputs: names of the folders it writes.
        instance_count, process_count: nodes, and processes on each.
        distribution: `pytorch`, `mpi`, or empty for a single process.
        environment_variables: set for its processes.
        sweep: what is searched where its command is that of many trials, which get the values that `inputs` lacks.
    """

    name: str
    command: str
    code: Path
    inputs: Mapping[str, Value]
    outputs: tuple[str, ...]
    instance_count: int
    process_count: int
    distribution: str
    environment_variables: Mapping[str, str]
    sweep: Sweep | None = None

    @property
    def takes_all(self) -> bool:
        """Whether it is made for several processes, or for several trials at a time, and so takes the machine for itself."""
        return self.is_for_many or (self.sweep is not None and self.sweep.limits.concurrent > 1)

    @property
    def is_for_many(self) -> bool:
        """Whether its command is made for several processes."""
        return bool(self.distribution) or self.instance_count * self.process_count > 1

    @property
    def needs(self) -> set[str]:
        """The steps whose outputs it reads."""
        return {value.step for value in self.inputs.values() if isinstance(value, OutputOf)}


@dataclass(frozen=True)
class Graph:
    """A pipeline: its steps in an order in which they can run."""

    steps: tuple[Step, ...]


def load_graph(path: Path, overrides: Mapping[str, str]) -> Graph:
    """Load a pipeline YAML by azure-ai-ml, check what its client does not, and fill in the pipeline's inputs.

    Args:
        path: a `type: pipeline` YAML.
        overrides: values for inputs of the pipeline, by name, or of a step, by `STEP.PORT`; paths are relative to the working
            directory.

    Raises:
        PipelineError: the YAML is not valid, or has parts that cannot run here.
    """
    raw = read_pipeline(path)
    refuse_optional(raw.get("inputs"), path)
    job = _load_by_azure(path)
    own = {name: text for name, text in overrides.items() if "." in name}
    values = _pipeline_inputs(
        job, raw.get("inputs") or {}, path, {name: overrides[name] for name in overrides.keys() - own.keys()}
    )
    steps = {name: _step(name, node, raw["jobs"][name], values, path, own) for name, node in job.jobs.items()}
    if own:
        name = next(iter(own))
        known = ", ".join(f"{step}.{port}" for step, node in job.jobs.items() for port in node.component.inputs)
        raise PipelineError(f"{path} has no step and input {name!r}; it has {known}")
    for step in steps.values():
        for port, value in step.inputs.items():
            if isinstance(value, OutputOf) and value.output not in getattr(steps.get(value.step), "outputs", ()):
                raise PipelineError(
                    f"{path}: input {port} of {step.name} comes from {value.step}.{value.output}, which does not exist"
                )
    try:
        order = list(TopologicalSorter({name: sorted(step.needs) for name, step in steps.items()}).static_order())
    except CycleError as error:
        raise PipelineError(f"{path}: the steps wait for each other in a circle: {' -> '.join(error.args[1])}") from error
    return Graph(tuple(steps[name] for name in order))


def refuse_optional(inputs: Any, path: Path) -> None:
    """Say what the client's own error does not: how an input of a pipeline is made optional."""
    for name, entry in inputs.items() if isinstance(inputs, dict) else ():
        if isinstance(entry, dict) and "optional" in entry:
            raise PipelineError(
                f"{path}: input {name} of a pipeline cannot be `optional`, which Azure's client refuses; leave out its path and "
                "`optional`, and optional inputs of steps then get nothing"
            )


def _load_by_azure(path: Path) -> Any:
    try:
        with _quiet():
            from azure.ai.ml import load_job
    except ImportError as error:
        raise PipelineError(
            'running a pipeline needs azure-ai-ml; install it with pip install "designer_vision[azure]"'
        ) from error
    try:
        with _quiet():
            job = load_job(path)
            result = job._validate()
    except Exception as error:  # the client raises many kinds, each with a text made for people
        raise PipelineError(f"{path}: {' '.join(str(error).split())[:1000]}") from error
    if not result.passed:
        raise PipelineError(f"{path}: " + "; ".join(f"{place}: {text}" for place, text in result.error_messages.items()))
    return job


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's notes on which of its own classes are experimental."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _pipeline_inputs(job: Any, raw: Mapping[str, Any], path: Path, overrides: Mapping[str, str]) -> dict[str, Value | None]:
    unknown = sorted(set(overrides) - set(job.inputs))
    if unknown:
        raise PipelineError(f"{path} has no input {unknown[0]!r}; it has {', '.join(job.inputs) or 'none'}")
    values: dict[str, Value | None] = {}
    for name, entry in job.inputs.items():
        data = entry._data
        if _is_data(data):
            written = raw[name].get("path")  # the client takes `azureml:` off the name of a registered asset
            if name in overrides:
                values[name] = local_path(overrides[name], Path())
            else:  # without a path it gives nothing, which is right for optional inputs of steps
                values[name] = _local_path(written, path.parent, name) if written else None
        else:
            values[name] = overrides.get(name, as_text(data))
    return values


def _is_data(data: Any) -> bool:
    return hasattr(data, "path")  # the client's Input; parameters are plain values


def _local_path(text: str, base: Path, name: str) -> Path:
    if ELSEWHERE.match(text):
        raise not_here(name, text)
    return local_path(text, base)


def not_here(name: str, text: object) -> PipelineError:
    """The error of an input that is an asset or an address."""
    return PipelineError(f"input {name} is {text!r}, which is not on this machine; give --input {name}=FOLDER")


def local_path(text: str, base: Path) -> Path:
    """A path as a person writes it, `~` included, relative to a folder."""
    return (base / at_home(text)).absolute()


def as_text(value: Any) -> str:
    """A parameter's value as the text that Azure pastes into a command: True, 0.001, For training."""
    return str(value)


def _step(
    name: str, node: Any, raw: Mapping[str, Any], values: Mapping[str, Value | None], path: Path, overrides: dict[str, str]
) -> Step:
    """A node as a step; what `overrides` has for it is taken out of there."""
    component: Any = getattr(node, "trial" if node.type == "sweep" else "component", None)
    if node.type not in ("command", "sweep") or not hasattr(component, "command"):
        raise PipelineError(
            f"{path}: step {name} is neither a command of a local component nor a sweep of one; only those, with "
            f"`component: some/file.yaml` or `trial: some/file.yaml`, can run here"
        )
    for kind in ("inputs", "outputs"):
        unknown = sorted(set(raw.get(kind) or {}) - set(getattr(component, kind)))
        if unknown:
            known = ", ".join(getattr(component, kind))
            raise PipelineError(f"{path}: step {name} has no {kind[:-1]} {unknown[0]!r}; {component.name} has {known}")
    inputs: dict[str, Value] = {}
    searched = raw["search_space"] if node.type == "sweep" else {}
    for port, declared in component.inputs.items():
        if port in searched:
            continue
        value = _value(node.inputs[port]._data, values, path, f"{name}.{port}")
        if (own := overrides.pop(f"{name}.{port}", None)) is not None:
            value = local_path(own, Path()) if str(declared.type).startswith("uri_") else own
        if value is None and declared.default is not None:
            value = as_text(declared.default)
        if value is not None:
            inputs[port] = value
        elif not declared.optional:  # the client checks this, except for what comes from an input of the pipeline
            match = PIPELINE_INPUT.fullmatch(str(getattr(node.inputs[port]._data, "path", node.inputs[port]._data)))
            origin = match[1] if match else f"{name}.{port}"
            raise PipelineError(f"input {origin} has no path, and step {name} needs it; give --input {origin}=FOLDER")
    # of a sweep's node the client keeps the last three as they are written, and does not take the component's
    distribution, resources, variables = (_setting(node, component, raw, key) for key in SETTINGS)

    def count(written: Any, place: str) -> int:
        return _count(written, values, f"{name}.{place}")

    return Step(
        name,
        component.command,
        (Path(component.base_path) / component.code).resolve() if component.code else path.parent.resolve(),
        inputs,
        tuple(component.outputs),
        count(resources.get("instance_count", 1), "resources.instance_count"),
        count(distribution.get("process_count_per_instance") or 1, "process_count_per_instance"),
        str(distribution.get("type", "")).lower(),
        {key: str(_value(text, values, path, f"{name}.{key}")) for key, text in variables.items()},
        read_sweep(raw, count) if node.type == "sweep" else None,
    )


SETTINGS = ("distribution", "resources", "environment_variables")


def _setting(node: Any, component: Any, raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A block of settings: a command's as the client has it, a sweep's as it is written, or else its component's."""
    found = raw.get(key) or getattr(component, key, None) if node.type == "sweep" else getattr(node, key)
    return found if isinstance(found, Mapping) else vars(found) if found else {}


def _value(data: Any, values: Mapping[str, Value | None], path: Path, place: str) -> Value | None:
    if data is None:
        return None
    text = str(data.path) if _is_data(data) else as_text(data)
    if match := STEP_OUTPUT.fullmatch(text):
        return OutputOf(*match.groups())
    if match := PIPELINE_INPUT.fullmatch(text):
        if match[1] not in values:
            raise PipelineError(f"{path}: {place} comes from the pipeline's input {match[1]!r}, which does not exist")
        return values[match[1]]
    if "${{" in text:
        raise PipelineError(f"{path}: {place} is {text!r}; only a whole input or output can be referred to here")
    return _local_path(text, path.parent, place) if _is_data(data) else text


def _count(value: Any, values: Mapping[str, Value | None], place: str) -> int:
    resolved = _value(value, values, Path(), place)
    if not isinstance(resolved, str) or not resolved.isdecimal() or int(resolved) < 1:
        raise PipelineError(f"{place} is {resolved}, expected a whole number from 1")
    return int(resolved)
