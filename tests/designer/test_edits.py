"""What a person does on the canvas, and the YAML that comes of it: exactly the one that is expected, and azure-ai-ml takes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from azure.ai.ml import load_job
from conftest import ROOT

from designer_vision.designer.components import OURS, Components
from designer_vision.designer.document import ConflictError, Document
from designer_vision.designer.edit_kinds import AnyEdit
from designer_vision.runtime.errors import DesignerError, PipelineError


def edits(*some: dict[str, Any]) -> list[AnyEdit]:
    return msgspec.convert(list(some), list[AnyEdit])


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """train_and_score, in a folder of its own, with components that are reached from there."""
    (tmp_path / "component").symlink_to(OURS)
    (tmp_path / "pipelines" / "digits").mkdir(parents=True)
    file = tmp_path / "pipelines" / "pipeline.yaml"
    file.write_text((ROOT / "pipelines" / "train_and_score.yaml").read_text())
    return Document(file, Components([OURS]))


def component(name: str) -> str:
    return str(OURS / f"{name}.yaml")


def change(document: Document, *some: dict[str, Any]) -> dict[str, Any]:
    document.edit(document.revision, edits(*some))
    written: dict[str, Any] = yaml.safe_load(document.text)
    return written


def reference(step: str, port: str) -> str:
    return f"${{{{parent.jobs.{step}.outputs.{port}}}}}"


def test_a_pipeline_built_from_nothing_is_the_yaml_that_one_would_write(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "component").symlink_to(OURS)
    document = Document(tmp_path / "my_photos.yaml", Components([OURS]))
    assert not document.is_saved
    change(document, {"do": "add", "component": component("convert_to_image_directory"), "name": "convert"})
    change(document, {"do": "add_input", "name": "images", "type": "uri_folder", "text": "photos"})
    change(document, {"do": "connect", "step": "convert", "port": "input_dataset", "from": {"input": "images"}})
    change(document, {"do": "add", "component": component("split_image_directory")})
    change(document, {"do": "set", "step": "split_image_directory", "port": "fraction", "text": "0.8"})
    source = {"step": "convert", "port": "output_image_directory"}
    change(document, {"do": "connect", "step": "split_image_directory", "port": "input_image_directory", "from": source})
    change(document, {
        "do": "add_output", "name": "kept", "from": {"step": "split_image_directory", "port": "output_image_directory1"},
    })  # fmt: skip
    document.save()
    components = os.path.relpath(OURS.resolve(), tmp_path)
    assert (
        (tmp_path / "my_photos.yaml").read_text().replace(components, "COMPONENTS")
        == """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: My photos
experiment_name: my_photos
settings:
  default_compute: serverless

jobs:
  convert:
    type: command
    component: COMPONENTS/convert_to_image_directory.yaml
    inputs:
      input_dataset: ${{parent.inputs.images}}
  split_image_directory:
    type: command
    component: COMPONENTS/split_image_directory.yaml
    inputs:
      fraction: 0.8
      input_image_directory: ${{parent.jobs.convert.outputs.output_image_directory}}
    outputs:
      output_image_directory1: ${{parent.outputs.kept}}

inputs:
  images:
    type: uri_folder
    path: photos

outputs:
  kept:
    type: uri_folder
"""
    )
    assert load_job(document.file)._validate().passed
    assert document.graph((), False)["problems"] == []


def test_renaming_a_step_renames_what_refers_to_it(document: Document) -> None:
    written = change(document, {"do": "rename", "step": "hold_out", "to": "tenth"})
    assert "hold_out" not in document.text
    assert written["jobs"]["score"]["inputs"]["dataset"] == reference("tenth", "output_image_directory2")
    assert list(written["jobs"])[1] == "tenth"


def test_removing_a_step_removes_what_refers_to_it(document: Document) -> None:
    written = change(document, {"do": "remove", "steps": ["train", "score"]})
    assert "train" not in written["jobs"]
    assert written["jobs"]["evaluate"]["inputs"] == {"dataset": reference("hold_out", "output_image_directory2")}
    assert list(written["outputs"]) == ["evaluation_results"]


def test_removing_all_steps_leaves_an_empty_pipeline_to_which_one_can_add(document: Document) -> None:
    steps = list(document.drawing.steps)
    assert change(document, {"do": "remove", "steps": steps})["jobs"] == {}
    assert document.graph((), False)["problems"][0]["text"].startswith("there is no step yet")
    assert list(change(document, {"do": "add", "component": component("resnet")})["jobs"]) == ["resnet"]


def test_duplicates_keep_the_edges_between_them_and_their_values(document: Document) -> None:
    written = change(document, {"do": "duplicate", "steps": ["transformation", "training_images"]})
    twin = written["jobs"]["training_images_2"]
    assert twin["inputs"]["input_image_transformation"] == reference("transformation_2", "output_image_transformation")
    assert twin["inputs"]["input_image_directory"] == reference("split", "output_image_directory1")
    assert written["jobs"]["transformation_2"] == written["jobs"]["transformation"]


def test_an_input_of_the_pipeline_is_renamed_removed_and_bound(document: Document) -> None:
    written = change(document, {"do": "rename_input", "name": "image_size", "to": "side"})
    assert written["jobs"]["transformation"]["inputs"]["crop_size"] == "${{parent.inputs.side}}"
    written = change(document, {"do": "remove_input", "name": "side"})
    assert "size" not in written["jobs"]["transformation"]["inputs"]
    written = change(
        document,
        {"do": "add_input", "name": "waiting", "type": "integer", "text": "4"},
        {"do": "connect", "step": "train", "port": "patience", "from": {"input": "waiting"}},
    )
    assert (written["inputs"]["waiting"], written["jobs"]["train"]["inputs"]["patience"]) == (4, "${{parent.inputs.waiting}}")


def test_a_path_and_a_setting_are_written_with_what_they_need(document: Document) -> None:
    written = change(
        document,
        {"do": "set", "step": "score", "port": "dataset", "text": "photos"},
        {"do": "setting", "step": "score", "path": "distribution.process_count_per_instance", "text": "2"},
        {"do": "setting", "step": "train", "path": "resources.instance_count", "text": None},
    )
    assert written["jobs"]["score"]["inputs"]["dataset"] == {"type": "uri_folder", "path": "photos"}
    assert written["jobs"]["score"]["distribution"] == {"type": "pytorch", "process_count_per_instance": 2}
    assert written["jobs"]["train"]["resources"] == {"shm_size": "8g"}


REFUSED = [
    (
        {"do": "connect", "step": "convert", "port": "input_dataset", "from": {"step": "score", "port": "scored_dataset"}},
        "in a circle",
    ),
    ({"do": "connect", "step": "score", "port": "dataset", "from": {"step": "score", "port": "scored_dataset"}}, "in a circle"),
    (
        {"do": "connect", "step": "score", "port": "dataset", "from": {"step": "split", "port": "none"}},
        "split has no output none; it has",
    ),
    ({"do": "connect", "step": "score", "port": "dataset", "from": {"input": "none"}}, "there is no input 'none' any more"),
    ({"do": "rename", "step": "train", "to": "score"}, "the name score is taken by another step"),
    ({"do": "rename", "step": "train", "to": "Train it"}, "'Train it' is not a name that Azure ML takes"),
    ({"do": "add", "component": "/etc/passwd"}, "is in none of the folders that may be read"),
    ({"do": "remove", "steps": ["nobody"]}, "there is no step 'nobody' any more; it has convert"),
    ({"do": "set", "step": "train", "port": "epochs", "text": "a\nb"}, "in one line"),
    ({"do": "setting", "step": "train", "path": "code", "text": "x"}, "a step has no setting 'code'"),
]


@pytest.mark.parametrize(("edit", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(document: Document, edit: dict[str, Any], reason: str) -> None:
    before, revision = document.text, document.revision
    with pytest.raises(PipelineError) as caught:
        change(document, {"do": "describe", "text": "changed"}, edit)
    assert reason in caught.value.message
    assert (document.text, document.revision) == (before, revision)


def test_an_edit_of_an_older_revision_is_a_conflict(document: Document) -> None:
    change(document, {"do": "describe", "text": "mine"})
    with pytest.raises(ConflictError, match="changed in another window"):
        document.edit(0, edits({"do": "describe", "text": "yours"}))


def test_all_is_undone_and_redone_without_end(document: Document) -> None:
    texts = [document.text]
    for number in range(30):
        change(document, {"do": "set_input", "name": "epochs", "text": str(number + 10)})
        texts.append(document.text)
    for text in reversed(texts[:-1]):
        document.undo()
        assert document.text == text
    assert document.is_saved
    for text in texts[1:]:
        document.redo()
        assert document.text == text
    assert not document.graph((), False)["can_redo"]


def test_a_file_that_somebody_else_wrote_to_is_not_overwritten(document: Document) -> None:
    change(document, {"do": "describe", "text": "mine"})
    theirs = document.file.read_text() + "# theirs\n"
    document.file.write_text(theirs)
    assert document.graph((), False)["changed_on_disk"]
    with pytest.raises(ConflictError, match="was changed by another program"):
        document.save()
    assert document.file.read_text() == theirs
    mine = document.text
    document.reload()
    assert document.text == theirs
    document.undo()
    assert document.text == mine
    document.save()
    assert document.file.read_text() == mine


def test_a_folder_in_the_place_of_the_file_is_a_change(document: Document) -> None:
    document.file.unlink()
    document.file.mkdir()
    assert document.graph((), False)["changed_on_disk"]
    with pytest.raises(ConflictError, match="was changed by another program"):
        document.save()
    with pytest.raises(PipelineError, match="cannot be read: Is a directory"):
        document.reload()


# Sweeps


@pytest.fixture
def sweep(document: Document) -> Document:
    """The sweep of the product's own pipelines, whose number of trials is an input of the pipeline."""
    document.file.write_text((ROOT / "pipelines" / "sweep.yaml").read_text())
    document.reload()
    assert texts_of(document) == []
    return document


def texts_of(document: Document) -> list[tuple[str, str]]:
    return [(problem["step"], problem["text"]) for problem in document.graph((), False)["problems"]]


def test_an_input_that_a_limit_of_a_sweep_reads_is_read_and_not_removed_without_a_word(sweep: Document) -> None:
    trials = next(entry for entry in sweep.graph((), False)["inputs"] if entry["name"] == "trials")
    assert trials["used_by"] == [{"step": "train", "port": "limits.max_total_trials"}]
    written = change(sweep, {"do": "remove_input", "name": "trials"})
    assert written["jobs"]["train"]["limits"] == {"max_concurrent_trials": 3}
    ((step, text),) = texts_of(sweep)
    assert (step, text.partition(";")[0]) == ("train", "train.limits.max_total_trials is missing")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("goal: maximize", "goal: up", "train.objective.goal is 'up', expected one of maximize, minimize"),
        ("values: [16, 32, 64]", "values: 16", "train.search_space.batch_size.values is 16, expected a list such as [16, 32]"),
        ("trials: 12", "trials: 0", "train.limits.max_total_trials is 0, it must not be below 1"),
        ("trials: 12", "trials: dozen", "train.limits.max_total_trials is 'dozen', expected a whole number"),
        (
            "trials: 12",
            "tries: 12",
            "train.limits.max_total_trials comes from the pipeline's input trials, which does not exist",
        ),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said_before_it_runs(sweep: Document, old: str, new: str, reason: str) -> None:
    sweep.file.write_text(sweep.text.replace(old, new))
    sweep.reload()
    assert texts_of(sweep) == [("train", reason)]


def test_a_sweep_is_duplicated_with_its_lists(sweep: Document) -> None:
    jobs = change(sweep, {"do": "duplicate", "steps": ["network", "train"]})["jobs"]
    twin = {name: value for name, value in jobs["train"].items() if name != "outputs"}
    twin["inputs"]["untrained_model"] = reference("network_2", "untrained_model")
    assert jobs["train_2"] == twin
    assert "values: [16, 32, 64]" in sweep.text.partition("train_2:")[2]
    assert texts_of(sweep) == []


def test_a_choice_of_many_values_is_shown_by_its_first(sweep: Document) -> None:
    sweep.file.write_text(sweep.text.replace("[16, 32, 64]", str(list(range(1, 10_000)))))
    sweep.reload()
    train = next(step for step in sweep.graph((), False)["steps"] if step["name"] == "train")
    shown = train["values"]["batch_size"]["searched"]
    assert (shown[:16], shown[-1], len(shown)) == ("choice 1, 2, 3, ", "…", 200)


# What comes from elsewhere


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trial: ../component/train_pytorch_model.yaml", r'trial: "a\0b"'),
        ("trial: ../component/train_pytorch_model.yaml", "trial: circle/a.yaml"),
        ("path: digits", "path: ~nobody_of_this_name/photos"),
        ("trial: ../component/train_pytorch_model.yaml", "trial: {command: x, inputs: {batch_size: {type: number, min: .nan}}}"),
        ("trial: ../component/train_pytorch_model.yaml", "trial: {command: x, inputs: {batch_size: {type: number, max: .inf}}}"),
    ],
)
def test_no_yaml_keeps_its_page_from_opening(sweep: Document, old: str, new: str) -> None:
    (sweep.file.parent / "circle").symlink_to("circle")
    sweep.file.write_text(sweep.text.replace(old, new))
    sweep.reload()
    assert texts_of(sweep) != []
    json.dumps(sweep.graph((), False), allow_nan=False)


@pytest.mark.parametrize("layout", ["[" * 100_000, '{"a":' * 100_000, r'{"\ud800": [1, 1]}', '{"step:train": [NaN, 1e999]}'])
def test_no_file_of_places_keeps_its_page_from_opening(sweep: Document, layout: str) -> None:
    sweep.file.with_name("pipeline.layout.json").write_text(layout)
    assert sweep.positions() == {}


def test_names_in_problems_cannot_turn_the_sentence_around(document: Document) -> None:
    change(document, {"do": "set", "step": "convert", "port": "input_dataset", "text": "a"})
    document.file.write_text(document.text.replace("path: a", 'path: "\\u202Ea"'))
    document.reload()
    texts = [problem["text"] for problem in document.graph((), False)["problems"]]
    assert any(text.startswith("input_dataset is \\u202ea, which does not exist in ") for text in texts)


@pytest.mark.parametrize("text", ["type: command\n", "- a\n", "a: *b\n", "type: pipeline\njobs: [1]\n", "a: b: c\n", "\t"])
def test_a_file_that_is_no_pipeline_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    document = Document(file, Components([OURS]))
    graph = document.graph((), False)
    assert str(file) in graph["error"]
    assert graph["steps"] == []
    with pytest.raises(DesignerError):
        change(document, {"do": "describe", "text": "x"})
    assert file.read_text() == text


def test_ten_thousand_steps_are_refused_with_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "type: pipeline\njobs:\n" + "".join(f"  a{number}: {{type: command, component: ./a.yaml}}\n" for number in range(10_000))
    )
    assert (
        Document(file, Components([OURS])).graph((), False)["error"].endswith("has 10,000 steps; the canvas shows at most 1,000")
    )


def test_places_of_nodes_lie_beside_the_file_and_not_in_it(document: Document) -> None:
    before = document.file.read_text()
    document.place({"step:train": (10.4, -3)})
    assert Document(document.file, Components([OURS])).positions() == {"step:train": (10, -3)}
    assert document.file.read_text() == before
    with pytest.raises(PipelineError, match="expected two numbers"):
        document.place({"step:train": (float("nan"), 0)})
    document.file.with_name("pipeline.layout.json").write_text("[not json")
    assert Document(document.file, Components([OURS])).positions() == {}
