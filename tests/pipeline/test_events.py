"""What a run tells programs: JSON lines that say the same as what people read."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import run_words

from designer_vision.pipeline.events import EPOCH, Events
from designer_vision.pipeline.log import Figures
from designer_vision.pipeline.runner import State
from designer_vision.pipeline.sweep import Objective, Standing, Trial
from designer_vision.training.metrics import Averages
from designer_vision.training.progress import Progress
from designer_vision.training.ranks import Ranks
from designer_vision.training.results import EpochResult

COMPONENT = """
type: command
name: work
version: 1
inputs: {text: {type: string}}
outputs: {out: {type: uri_folder}}
code: .
environment: {image: python}
command: python work.py "${{inputs.text}}" "${{outputs.out}}"
"""
WORK = """
import pathlib, sys
text, out = sys.argv[1:]
print("warning: small")
print("epoch 1/2 | 60.0 images/s | train loss 0.5000 | valid loss 0.4000 | top-1 0.7500 | top-5 1.0000")
print("epoch 2/2 | 60.0 images/s | train loss 0.3000 | valid loss 0.2000 | top-1 0.8000 | top-5 1.0000")
if text == "fail":
    sys.exit("Error 0018: InvalidDatasetError: the reason")
pathlib.Path(out, "metrics.json").write_text('{"metrics": {"Overall accuracy": 0.5}}')
pathlib.Path(out, "report.html").write_text("a page")
"""
PIPELINE = """
type: pipeline
settings: {default_compute: serverless}
inputs: {text: fine}
jobs:
  first: {type: command, component: ./work.yaml, inputs: {text: "${{parent.inputs.text}}"}}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """One step that prints what a training prints."""
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "work.yaml").write_text(COMPONENT)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path / "pipeline.yaml"


def run(pipeline: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return run_words(["designer-vision", "run", pipeline, "--output_dir", "out", *words], environment, pipeline.parent, 300)


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_standard_output_has_nothing_but_events_and_people_read_standard_error(pipeline: Path) -> None:
    result = run(pipeline, "--events", "-")
    assert result.returncode == 0, result.stderr
    first, *steps, last = told(result.stdout)
    folder = pipeline.parent / "out"
    assert (first["event"], first["pipeline"], first["folder"], first["steps"]) == ("run", str(pipeline), str(folder), ["first"])
    assert [event["phase"] for event in steps if event["event"] == "step"][-1] == "finished"
    assert [(event["epoch"], event["epochs"], event["valid_loss"], event["top1"]) for event in steps if event["event"] == "epoch"] == [
        (1, 2, 0.4, 0.75), (2, 2, 0.2, 0.8),
    ]  # fmt: skip
    page = folder / "first" / "outputs" / "out" / "report.html"
    assert last == {"event": "end", "phase": "finished", "error": None, "result": "top-1 50.0 %", "reports": [str(page)]}
    assert "first: finished" in result.stderr
    assert steps[-1]["warnings"] == ["small"]


def test_a_file_of_events_begins_anew_and_a_reused_step_is_told(pipeline: Path) -> None:
    file = pipeline.parent / "events.jsonl"
    for phase in ("finished", "reused"):
        result = run(pipeline, "--events", file)
        assert result.returncode == 0, result.stderr
        assert f"first: {phase}" in result.stdout
        events = told(file.read_text())
        assert [event["event"] for event in events].count("run") == 1
        assert [event["phase"] for event in events if event["event"] == "step"][-1] == phase


def test_the_last_event_of_a_run_that_fails_is_its_error(pipeline: Path) -> None:
    result = run(pipeline, "--events", "-", "--input", "text=fail")
    assert result.returncode == 1
    *_, step, last = told(result.stdout)
    assert (step["step"], step["phase"], last["phase"]) == ("first", "failed", "failed")
    assert last["error"].startswith("Error: PipelineError: step first failed (exit code 1)")
    assert "the reason" in last["error"]


def test_what_is_wrong_before_anything_runs_is_an_event_too(pipeline: Path) -> None:
    result = run(pipeline, "--events", "-", "--input", "nothing=1")
    assert result.returncode == 1
    (last,) = told(result.stdout)
    assert (last["event"], last["phase"]) == ("end", "failed")
    assert "has no input 'nothing'" in last["error"]


def test_a_file_that_cannot_be_written_is_one_line(pipeline: Path) -> None:
    result = run(pipeline, "--events", pipeline.parent / "nowhere" / "events.jsonl")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "FileSystemError" in line
    assert "nowhere/events.jsonl" in line


def test_a_step_is_told_when_it_changes_and_once_a_second() -> None:
    file = io.StringIO()
    events = Events(file)
    for tenth in range(25):
        events.states({"train": State("running", tenth / 10, Figures(loss=0.5 if tenth < 12 else 0.4))})
    assert [(event["seconds"], event["loss"]) for event in told(file.getvalue())] == [
        (0.0, 0.5),
        (1.0, 0.5),
        (1.2, 0.4),
        (2.2, 0.4),
    ]


def test_each_trial_of_a_sweep_is_told_when_it_begins_reports_and_ends() -> None:
    file = io.StringIO()
    events, first = Events(file), Trial(1, {"learning_rate": "0.01"})
    second = Trial(2, {"learning_rate": "0.1"}, seconds=2.0)
    ended = replace(first, phase="finished", reported=(0.5, 0.75), seconds=1.54)
    for trials in (
        [first],
        [replace(first, reported=(0.5,))],
        [replace(first, reported=(0.5,), seconds=1.0)],
        [ended, second],
    ):
        events.states({"search": State("running", sweep=Standing(Objective("top-1", True), 4, tuple(trials)))})
    found = [event for event in told(file.getvalue()) if event["event"] == "trial"]
    assert [(event["trial"], event["phase"], event["value"], event["reported"], event["best"]) for event in found] == [
        (1, "running", None, 0, None), (1, "running", 0.5, 1, None), (1, "finished", 0.75, 2, 1), (2, "running", None, 0, 1),
    ]  # fmt: skip
    assert found[2] == {
        "event": "trial", "step": "search", "trial": 1, "trials": 4, "phase": "finished", "values": {"learning_rate": "0.01"},
        "metric": "top-1", "value": 0.75, "reported": 2, "seconds": 1.5, "why": "", "best": 1,
    }  # fmt: skip


def test_an_infinite_value_of_a_trial_is_null_since_json_has_none() -> None:
    file = io.StringIO()
    diverged = Trial(1, {"rate": "1"}, "finished", (math.inf,))
    Events(file).states({"search": State("running", 0.0, sweep=Standing(Objective("loss", maximize=False), 1, (diverged,)))})
    trial, _ = told(file.getvalue())
    assert (trial["value"], trial["reported"]) == (None, 1)


def test_the_line_of_an_epoch_is_read_as_the_trainer_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    epoch = EpochResult(3, Averages(1.5, 0.25, 0.5, 40), Averages(0.125, 0.875, 1.0, 40), 61.25, 0.01)
    Progress(5, 40, Ranks()).epoch(epoch)
    match = EPOCH.fullmatch(capsys.readouterr().out.strip())
    assert match is not None
    assert match.groupdict() == {"epoch": "3", "epochs": "5", "train_loss": "1.5000", "valid_loss": "0.1250", "top1": "0.8750"}
