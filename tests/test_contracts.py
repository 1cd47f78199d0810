"""The doors: every component YAML against its entry, and all YAMLs against the client that Azure's CLI uses."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from azure.ai.ml import Input, load_component, load_job
from conftest import ROOT

from designer_vision.entry.command_line import Choice
from designer_vision.pipeline.command import fill
from designer_vision.runtime.errors import DesignerError

COMPONENTS = sorted((ROOT / "component").glob("*.yaml"))
PIPELINES = sorted((ROOT / "pipelines").glob("*.yaml"))
NAMES = [path.stem for path in COMPONENTS]
PARTS = {
    "resnet": ("model_name pretrained zero_init_residual trained_model", "untrained_model"),
    "densenet": ("model_name pretrained memory_efficient trained_model", "untrained_model"),
    "image_network": ("model_name pretrained trained_model", "untrained_model"),
    "convert_to_image_directory": ("input_dataset", "output_image_directory"),
    "split_image_directory": ("input_image_directory fraction random_seed", "output_image_directory1 output_image_directory2"),
    "balance_classes": ("input_image_directory weighting", "output_image_directory"),
    "clean_image_directory": (
        "input_image_directory image_directory_to_compare scored_dataset action",
        "output_image_directory cleaning_report",
    ),
    "init_image_transformation": (
        "resize size shape center_crop crop_size pad padding color_jitter grayscale random_resized_crop random_resized_crop_size random_crop "
        "random_crop_size random_horizontal_flip random_vertical_flip random_rotation random_rotation_degrees random_affine "
        "random_affine_degrees random_grayscale random_perspective",
        "output_image_transformation",
    ),
    "apply_image_transformation": ("mode input_image_transformation input_image_directory", "output_image_directory"),
    "train_pytorch_model": (
        "untrained_model training_dataset validation_dataset epochs batch_size warmup_step_number learning_rate random_seed patience "
        "print_frequency",
        "trained_model",
    ),
    "score_image_model": ("trained_model dataset threshold", "scored_dataset"),
    "export_onnx": ("trained_model", "onnx_model"),
    "evaluate_model": ("scored_dataset scored_dataset_to_compare dataset trained_model", "evaluation_results"),
}
"""Inputs and outputs of each component, in the order in which the designer shows them."""


@pytest.fixture(params=COMPONENTS, ids=NAMES)
def component(request: pytest.FixtureRequest) -> dict:
    """One component's YAML."""
    return yaml.safe_load(request.param.read_text())


def entry(component: dict) -> click.Command:
    return importlib.import_module(f"designer_vision.entry.{component['name']}").parse


def test_every_component_of_the_graph_is_there() -> None:
    assert set(NAMES) == set(PARTS)


def test_ports_and_parameters_have_their_names_and_order(component: dict) -> None:
    inputs, outputs = PARTS[component["name"]]
    assert (list(component["inputs"]), list(component["outputs"])) == (inputs.split(), outputs.split())


def test_every_input_and_output_reaches_the_command_under_its_own_name(component: dict) -> None:
    command = component["command"]
    for kind in ("inputs", "outputs"):
        for name, port in component[kind].items():
            flag = f'--{name} "${{{{{kind}.{name}}}}}"'
            assert (f"$[[{flag}]]" if port.get("optional") else flag) in command
    assert command.startswith(f"python -m designer_vision.entry.{component['name']} ")
    assert len(re.findall(r"--\w+", command)) == len(component["inputs"]) + len(component["outputs"])


def test_every_flag_of_the_entry_is_passed_and_no_other(component: dict) -> None:
    options = {option.name: option for option in entry(component).params}
    assert set(options) == {*component["inputs"], *component["outputs"]}
    for name, option in options.items():
        assert option.opts == [f"--{name}"]
        assert option.required is not bool(component["inputs"].get(name, {}).get("optional"))


def test_defaults_stand_in_the_yaml_only(component: dict) -> None:
    for option in entry(component).params:
        value = option.to_info_dict()["default"]
        assert value is None or not isinstance(value, (bool, int, float, str))
    for port in component["inputs"].values():
        assert ("default" in port) == (port["type"] != "uri_folder")


def test_the_choices_of_the_yaml_are_those_of_the_entry(component: dict) -> None:
    types = {option.name: option.type for option in entry(component).params}
    for name, port in component["inputs"].items():
        choices = types[name].choices if isinstance(types[name], Choice) else None
        assert port.get("enum") == (list(choices) if choices else None)
        expected = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "choice", "uri_folder": "path"}
        assert types[name].name == expected[port["type"]]


def test_every_port_and_parameter_has_a_sentence(component: dict) -> None:
    for port in [component, *component["inputs"].values(), *component["outputs"].values()]:
        assert re.fullmatch(r"[A-Z_m].*\.", port["description"], re.DOTALL)
    assert component["display_name"]


def test_an_unknown_flag_is_refused_with_the_nearest(component: dict) -> None:
    flag = f"--{next(iter(component['outputs']))}s"
    with pytest.raises(click.NoSuchOption) as refused:
        entry(component).main([flag, "x"], standalone_mode=False)
    _, _, advice = refused.value.format_message().partition("Did you mean")
    assert f"'{flag[:-1]}'" in advice


def test_training_has_the_defaults_and_ranges_of_the_classic_module() -> None:
    inputs = yaml.safe_load((ROOT / "component" / "train_pytorch_model.yaml").read_text())["inputs"]
    defaults = {name: port["default"] for name, port in inputs.items() if "default" in port}
    assert defaults == {
        "epochs": 5, "batch_size": 16, "warmup_step_number": 0, "learning_rate": 0.001, "random_seed": 1, "patience": 3,
        "print_frequency": 10,
    }  # fmt: skip


@pytest.mark.parametrize("path", COMPONENTS, ids=NAMES)
def test_azures_client_loads_and_validates_the_component(path: Path) -> None:
    result = load_component(path)._validate()
    assert result.passed, result.error_messages


@pytest.mark.parametrize("path", PIPELINES, ids=[path.stem for path in PIPELINES])
def test_azures_client_loads_and_validates_the_pipeline(path: Path, tmp_path: Path) -> None:
    result = load_job(path)._validate()
    assert result.passed, result.error_messages


GRAPHS = {
    "photos": ("images",),
    "train_and_score": ("images",),
    "unequal_classes": ("images",),
    "imagenet_resnet50": ("training_images", "validation_images"),
    "fine_tune": ("images",),
    "clean": ("images",),
    "wrong_labels": ("images",),
    "score_only": ("trained_model", "images"),
    "export_onnx": ("trained_model",),
    "sweep": ("images",),
    "image_classification_with_densenet": ("training_zip", "validation_zip"),
}
"""Pipelines, and their inputs that are data."""


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The SDK's functions by the name of their YAML."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "pipelines"), *sys.path])
    modules = importlib.import_module("train_and_score"), importlib.import_module("graphs")
    return {name: next(vars(module)[name] for module in modules if name in vars(module)) for name in GRAPHS}


def test_every_pipeline_has_its_graph_in_the_sdk() -> None:
    assert {*GRAPHS, "train_and_score_registered"} == {path.stem for path in PIPELINES}


@pytest.mark.parametrize("pipeline", GRAPHS)
def test_the_graph_in_the_sdk_is_the_graph_in_yaml(pipeline: str, graphs: dict[str, Any], tmp_path: Path) -> None:
    composed = graphs[pipeline](**{name: Input(type="uri_folder", path=str(tmp_path)) for name in GRAPHS[pipeline]})
    assert composed._validate().passed
    written = load_job(ROOT / "pipelines" / f"{pipeline}.yaml")
    assert composed.display_name == written.display_name
    assert composed.settings.default_compute == written.settings.default_compute
    assert set(composed.jobs) == set(written.jobs)
    assert set(composed.outputs) == set(written.outputs)
    for name, node in written.jobs.items():
        twin = composed.jobs[name]
        assert twin.type == node.type
        component, other = (getattr(each, "trial", None) or each.component for each in (twin, node))
        assert component.display_name == other.display_name
        ours, theirs = ({port: _plain(value, other.inputs[port]) for port, value in each.inputs.items()} for each in (twin, node))
        assert ours == theirs, name
    if "train" in written.jobs and hasattr(written.jobs["train"], "resources") and pipeline != "train_and_score":
        ours, theirs = composed.jobs["train"], written.jobs["train"]
        assert _plain(ours.distribution.process_count_per_instance) == _plain(theirs.distribution.process_count_per_instance)
        assert _plain((ours.resources or {}).get("instance_count")) == _plain((theirs.resources or {}).get("instance_count"))
        assert _plain((ours.resources or {}).get("instance_type")) == _plain((theirs.resources or {}).get("instance_type"))
        assert ours.queue_settings == theirs.queue_settings
        assert (ours.environment_variables, ours.compute) == (theirs.environment_variables, theirs.compute)


def _plain(value: Any, declared: Any = None) -> str:
    """A value, or the place that it is bound to, as text; a default that is written out is as good as none."""
    if type(value).__name__ == "PipelineInput":
        return _target(value)
    data = getattr(value, "_data", value)
    if data is None and declared is not None and declared.default is not None:
        data = declared.default
    binding = getattr(data, "_data_binding", None)
    if callable(binding) or "parent" in str(data):
        return _target(data)
    return str(data)


def _target(binding: object) -> str:
    """`jobs.convert.outputs.x` or `inputs.x` of a binding, as the SDK or a YAML writes it."""
    match = re.search(r"parent\.([\w.]+)", str(getattr(binding, "_data_binding", lambda: binding)()))
    assert match, binding
    return match[1]


@pytest.mark.parametrize(
    "text", ["5;touch harmed", "5 && touch harmed", "5 | touch harmed", "5\n touch harmed", "* ", "", "5 --epochs 6"]
)
def test_case_147_a_value_stays_one_word_in_the_shell_that_azure_runs_the_command_with(
    component: dict, text: str, tmp_path: Path
) -> None:
    names = [*component["inputs"], *component["outputs"]]
    line = fill(component["command"], dict.fromkeys(component["inputs"], text), dict.fromkeys(component["outputs"], text))
    seen = subprocess.run(
        ["bash", "-c", f'python() {{ printf "%s\\0" "$@"; }}; {line}'], capture_output=True, text=True, check=True
    )
    assert seen.stdout.split("\0")[2:-1] == [word for name in names for word in (f"--{name}", text)]
    assert not (tmp_path / "harmed").exists()


def test_a_model_of_ones_own_can_be_given_to_the_photos_pipeline(graphs: dict[str, Any], tmp_path: Path) -> None:
    """As its YAML and its function in the SDK say: a pipeline job has no optional inputs, a component has."""
    port = "jobs.network.inputs.trained_model"
    changes = [{f"{port}.type": "mlflow_model"}, {f"{port}.path": "azureml:my_model@latest"}]
    written = load_job(ROOT / "pipelines" / "photos.yaml", params_override=changes)
    composed = graphs["photos"](images=Input(type="uri_folder", path=str(tmp_path)))
    composed.jobs["network"].inputs.trained_model = Input(type="mlflow_model", path="azureml:my_model@latest")
    for job in (written, composed):
        assert job._validate().passed
        assert job.jobs["network"].inputs["trained_model"]._data.path.endswith("my_model@latest")


def test_the_range_of_the_yaml_is_that_of_the_entry(component: dict, tmp_path: Path) -> None:
    """The smallest and the largest value pass the entry's own checks, the next ones do not; so the local runner need not start it."""
    ranges = {name: port for name, port in component["inputs"].items() if "min" in port or "max" in port}
    defaults = {
        name: port.get("default", tmp_path / name) for name, port in component["inputs"].items() if not port.get("optional")
    }
    outputs = {name: tmp_path / name for name in component["outputs"]}

    def refusal(name: str, value: object) -> str:
        words = [word for key, text in (defaults | outputs | {name: value}).items() for word in (f"--{key}", str(text))]
        try:
            entry(component).main(words, standalone_mode=False)
        except DesignerError as error:
            return error.message
        return ""

    for name, port in ranges.items():
        step = 1 if port["type"] == "integer" else port.get("min", 1) or 0.001
        for limit, beyond in (("min", -step), ("max", step)):
            if limit in port:
                assert not re.search(rf"\b{name} is\b", refusal(name, port[limit])), (name, limit)
                assert re.search(rf"\b{name} is\b", refusal(name, port[limit] + beyond)), (name, limit)
