"""Changes to a YAML text that touch nothing but their own lines."""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.designer.yaml_text import YamlText, scalar
from designer_vision.runtime.errors import PipelineError

PIPELINES = sorted((ROOT / "pipelines").glob("*.yaml"))
TEXT = """\
# what it is for
type: pipeline
inputs:
  images:
    type: uri_folder
    path: digits # put your own here
  epochs: 5   # passes

jobs:
  convert: # first
    type: command
    inputs:
      input_dataset: ${{parent.inputs.images}}

  # then
  train:
    type: command
    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}"}
"""


def difference(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=0)
    return [line for line in list(lines)[2:] if not line.startswith("@@")]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["inputs", "epochs"], 7, ["-  epochs: 5   # passes", "+  epochs: 7   # passes"]),
        (["inputs", "images", "path"], "my photos: 2", [
            "-    path: digits # put your own here", '+    path: "my photos: 2" # put your own here',
        ]),
        (["inputs", "rate"], 0.00001, ["+  rate: 1.0e-05"]),
        (["jobs", "train", "inputs", "epochs"], "${{parent.inputs.epochs}}", [
            '-    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}"}',
            '+    inputs: {epochs: "${{parent.inputs.epochs}}", training_dataset: "${{parent.jobs.convert.outputs.out}}"}',
        ]),
        (["jobs", "train", "inputs", "patience"], 2, [
            '-    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}"}',
            '+    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}", patience: 2}',
        ]),
        (["jobs", "convert", "inputs", "input_dataset"], {"type": "uri_folder", "path": "x"}, [
            "-      input_dataset: ${{parent.inputs.images}}", "+      input_dataset:", "+        type: uri_folder", "+        path: x",
        ]),
        (["jobs", "score"], {"type": "command", "inputs": {"dataset": "a"}}, [
            "+  score:", "+    type: command", "+    inputs:", "+      dataset: a", "+",
        ]),
        (["jobs", "convert", "resources", "instance_count"], 2, ["+    resources:", "+      instance_count: 2"]),
        (["display_name"], "yes", ['+display_name: "yes"']),
    ],
)  # fmt: skip
def test_a_value_is_set_in_its_own_line(path: list[str], value: Any, expected: list[str]) -> None:
    text = YamlText(TEXT)
    text.set(path, value)
    assert difference(TEXT, text.text) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["jobs", "convert"], [
            "-  convert: # first", "-    type: command", "-    inputs:", "-      input_dataset: ${{parent.inputs.images}}", "-",
        ]),
        (["jobs", "convert", "inputs", "input_dataset"], ["-    inputs:", "-      input_dataset: ${{parent.inputs.images}}"]),
        (["inputs", "images"], ["-  images:", "-    type: uri_folder", "-    path: digits # put your own here"]),
        (["jobs", "train", "inputs", "epochs"], [
            '-    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}"}',
            '+    inputs: {training_dataset: "${{parent.jobs.convert.outputs.out}}"}',
        ]),
        (["jobs", "train", "inputs", "training_dataset"], [
            '-    inputs: {epochs: 3, training_dataset: "${{parent.jobs.convert.outputs.out}}"}', "+    inputs: {epochs: 3}",
        ]),
    ],
)  # fmt: skip
def test_what_is_removed_takes_its_own_lines_along(path: list[str], expected: list[str]) -> None:
    text = YamlText(TEXT)
    text.remove(path)
    assert difference(TEXT, text.text) == expected


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_several_keys_are_removed_as_one_after_the_other_would_be(path: Path) -> None:
    at_once, singly = YamlText(path.read_text()), YamlText(path.read_text())
    some = list(at_once.data["jobs"])[1::2]
    at_once.remove_several(["jobs"], some)
    for job in some:
        singly.remove(["jobs", job])
    assert at_once.data == singly.data
    assert all(line.startswith("-") for line in difference(path.read_text(), at_once.text))
    assert [line for line in at_once.text.split("\n") if line] == [line for line in singly.text.split("\n") if line]


def test_a_key_is_renamed_in_its_place() -> None:
    text = YamlText(TEXT)
    text.rename(["jobs", "convert"], "read")
    assert difference(TEXT, text.text) == ["-  convert: # first", "+  read: # first"]
    assert list(yaml.safe_load(text.text)["jobs"]) == ["read", "train"]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_what_is_added_and_removed_again_leaves_every_pipeline_as_it_was(path: Path) -> None:
    before = path.read_text()
    text = YamlText(before)
    text.set(
        ["jobs", "another"], {"type": "command", "component": "../component/resnet.yaml", "inputs": {"model_name": "resnet18"}}
    )
    assert all(line.startswith("+") for line in difference(before, text.text))
    text.remove(["jobs", "another"])
    for job in text.data["jobs"]:
        text.rename(["jobs", job], "renamed")
        text.rename(["jobs", "renamed"], job)
    assert text.text == before


def test_windows_line_ends_stay() -> None:
    text = YamlText("type: pipeline\r\njobs:\r\n  a:\r\n    type: command\r\n")
    text.set(["jobs", "b"], {"type": "command"})
    assert text.text == "type: pipeline\r\njobs:\r\n  a:\r\n    type: command\r\n  b:\r\n    type: command\r\n"


@pytest.mark.parametrize("nothing", ["jobs: {}", "jobs:", "jobs: # none yet", "jobs: {} # none yet"])
def test_the_first_of_a_mapping_stands_below_its_key(nothing: str) -> None:
    text = YamlText(f"type: pipeline\n{nothing}\n")
    text.set(["jobs", "a"], {"type": "command"})
    assert text.text == f"type: pipeline\n{nothing.replace(' {}', '')}\n  a:\n    type: command\n"


def test_what_cannot_be_changed_without_a_risk_is_refused_and_nothing_changes() -> None:
    before = "a: {b: 2,}\n"
    text = YamlText(before)
    with pytest.raises(PipelineError, match="a.c is written in a way that cannot be changed here; change it in an editor"):
        text.set(["a", "c"], 1)
    assert text.text == before


VALUES = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30)
)
KEYS = st.sampled_from(["a", "b", "jobs", "input 1", "true", "3"])
MAPPINGS = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


@given(VALUES)
def test_every_value_reads_as_it_was(value: Any) -> None:
    try:
        written = yaml.safe_load(f"a: {scalar(value)}")
    except yaml.YAMLError:
        assert isinstance(value, str)  # noncharacters, which no YAML can hold; an edit refuses them
        return
    assert written == {"a": value}


@given(
    st.dictionaries(KEYS, MAPPINGS, min_size=1, max_size=4),
    st.booleans(),
    st.lists(KEYS, min_size=1, max_size=3),
    VALUES,
    st.booleans(),
)
def test_any_change_to_any_text_is_exactly_that_change_or_none(
    data: dict[str, Any], is_flow: bool, path: list[str], value: Any, is_removed: bool
) -> None:
    before = yaml.safe_dump(data, default_flow_style=is_flow, allow_unicode=True)
    text = YamlText(before)
    expected = copy.deepcopy(text.data)
    parent = expected
    for key in path[:-1]:
        if not isinstance(parent.get(key), dict):
            parent[key] = {}
        parent = parent[key]
    can_be_removed = expected == text.data and path[-1] in parent and len(data) > 1
    parent[path[-1]] = value
    try:
        if is_removed and can_be_removed:
            text.remove(path)
            assert len(text.text) < len(before)
        else:
            text.set(path, value)
            assert text.data == expected
    except PipelineError:
        assert text.text == before
    assert yaml.safe_load(text.text) == text.data
