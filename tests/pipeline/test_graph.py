from __future__ import annotations

from pathlib import Path

import pytest

from designer_vision.pipeline.graph import Graph, OutputOf, load_graph
from designer_vision.pipeline.yaml_files import experiment_name
from designer_vision.runtime.errors import PipelineError

COMPONENT = """
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: work
version: 1
inputs:
  data: {type: uri_folder}
  count: {type: integer, default: 5}
  rate: {type: number, default: 0.001}
  flag: {type: boolean, default: true}
  more: {type: uri_folder, optional: true}
outputs:
  out: {type: uri_folder}
code: ./code
environment: {image: python}
command: >-
  python work.py --data "${{inputs.data}}" --count ${{inputs.count}} --rate ${{inputs.rate}} --flag ${{inputs.flag}}
  $[[--more "${{inputs.more}}"]] --out "${{outputs.out}}"
distribution: {type: pytorch, process_count_per_instance: 1}
resources: {instance_count: 1, shm_size: 2g}
"""
PIPELINE = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
experiment_name: trial
settings: {default_compute: serverless}
inputs:
  photos: {type: uri_folder, path: photos}
  rate: 0.5
  processes: 3
jobs:
  second:
    type: command
    component: ./work.yaml
    inputs:
      data: ${{parent.jobs.first.outputs.out}}
      rate: ${{parent.inputs.rate}}
      flag: false
    distribution: {type: pytorch, process_count_per_instance: "${{parent.inputs.processes}}"}
    resources: {instance_count: 2}
    environment_variables: {COLOR: blue}
  first:
    type: command
    component: ./work.yaml
    inputs:
      data: ${{parent.inputs.photos}}
"""


def load(folder: Path, text: str = PIPELINE, **overrides: str) -> Graph:
    (folder / "photos").mkdir(exist_ok=True)
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "work.py").touch()
    (folder / "work.yaml").write_text(COMPONENT)
    (folder / "pipeline.yaml").write_text(text)
    return load_graph(folder / "pipeline.yaml", overrides)


def test_steps_come_in_an_order_in_which_they_can_run_with_their_values(tmp_path: Path) -> None:
    graph = load(tmp_path)
    first, second = graph.steps
    assert (first.name, second.name) == ("first", "second")
    assert first.inputs == {"data": tmp_path / "photos", "count": "5", "rate": "0.001", "flag": "True"}
    assert second.inputs == {"data": OutputOf("first", "out"), "count": "5", "rate": "0.5", "flag": "False"}
    assert first.code == tmp_path / "code"
    assert first.outputs == ("out",)


def test_a_node_overrides_distribution_resources_and_variables(tmp_path: Path) -> None:
    first, second = load(tmp_path).steps
    assert (first.instance_count, first.process_count, first.distribution) == (1, 1, "pytorch")
    assert (second.instance_count, second.process_count, second.environment_variables) == (2, 3, {"COLOR": "blue"})


def test_inputs_of_the_pipeline_can_be_given_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = load(tmp_path, photos="elsewhere", rate="0.25", processes="1").steps
    assert first.inputs["data"] == tmp_path / "elsewhere"
    assert (second.inputs["rate"], second.process_count) == ("0.25", 1)


def test_an_input_with_path_and_mode_is_still_a_link(tmp_path: Path) -> None:
    text = PIPELINE.replace(
        "data: ${{parent.jobs.first.outputs.out}}",
        'data: {type: uri_folder, path: "${{parent.jobs.first.outputs.out}}", mode: download}',
    )
    second = load(tmp_path, text).steps[1]
    assert second.inputs["data"] == OutputOf("first", "out")


def test_an_input_of_the_pipeline_without_a_path_gives_an_optional_input_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PIPELINE.replace("  rate: 0.5", "  rate: 0.5\n  others: {type: uri_folder}")
    text = text.replace(
        "data: ${{parent.inputs.photos}}", 'data: ${{parent.inputs.photos}}\n      more: "${{parent.inputs.others}}"'
    )
    assert "more" not in load(tmp_path, text).steps[0].inputs
    assert load(tmp_path, text, others="others").steps[0].inputs["more"] == tmp_path / "others"


def test_environment_variables_can_be_inputs_of_the_pipeline(tmp_path: Path) -> None:
    assert load(tmp_path, PIPELINE.replace("COLOR: blue", 'COLOR: "${{parent.inputs.rate}}"')).steps[1].environment_variables == {
        "COLOR": "0.5"
    }


def test_the_experiment_is_the_yamls_or_has_its_name(tmp_path: Path) -> None:
    load(tmp_path)
    assert experiment_name(tmp_path / "pipeline.yaml") == "trial"
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("experiment_name: trial", ""))
    assert experiment_name(tmp_path / "pipeline.yaml") == "pipeline"


def test_an_input_that_the_pipeline_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="has no input 'photo'; it has photos, rate, processes"):
        load(tmp_path, photo="x")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flag: false", "flog: false", "step second has no input 'flog'; .* has data, count, rate, flag, more"),
        ("jobs.first.outputs.out", "jobs.first.outputs.oud", r"input data of second comes from first\.oud, which does not exist"),
        ("jobs.first.outputs.out", "jobs.frist.outputs.out", "frist"),
        ("parent.inputs.rate", "parent.inputs.raet", "raet"),
        ("data: ${{parent.inputs.photos}}", "data: ${{parent.jobs.second.outputs.out}}", "circle|[Cc]ycl"),
        ("      data: ${{parent.inputs.photos}}", "      count: 3", "Required input 'data'"),
        ("path: photos", "path: azureml://datastores/a/paths/b", "not on this machine; give --input photos=FOLDER"),
        ("path: photos", "", "input photos has no path, and step first needs it; give --input photos=FOLDER"),
        (
            "path: photos",
            "path: photos, optional: true",
            "input photos of a pipeline cannot be `optional`, .* leave out its path",
        ),
        ("processes: 3", "processes: many", "second.process_count_per_instance is many"),
        ("type: pipeline", "type: command", "is not a pipeline"),
        ("jobs:", "jobs: [", "not readable YAML"),
    ],
)
def test_a_mistake_in_the_yaml_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PIPELINE
    with pytest.raises(PipelineError, match=message):
        load(tmp_path, PIPELINE.replace(old, new))
