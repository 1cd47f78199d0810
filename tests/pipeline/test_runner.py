"""The whole way: the runner on small pipelines of any commands, and on the product's own graph with two processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from conftest import ROOT, make_photos

from designer_vision.directories.data_frame_directory import read_data_frame_directory
from designer_vision.directories.model_directory import read_model_directory

COMMAND = [str(Path(sys.executable).parent / "designer-vision"), "run"]
COMPONENT = """
type: command
name: work
version: 1
inputs:
  text: {type: string, default: hello}
  before: {type: uri_folder, optional: true}
outputs:
  out: {type: uri_folder}
code: ./code
environment: {image: python}
command: python work.py "${{inputs.text}}" "${{outputs.out}}" $[["${{inputs.before}}"]]
"""
PIPELINE = """
type: pipeline
settings: {default_compute: serverless}
inputs: {text: hello}
jobs:
  first: {type: command, component: ./work.yaml, inputs: {text: one}}
  second:
    type: command
    component: ./work.yaml
    inputs: {text: "${{parent.inputs.text}}", before: "${{parent.jobs.first.outputs.out}}"}
"""
WORK = """
import os, pathlib, sys
text, out, *before = sys.argv[1:]
print("42.5 images/s", text)
pathlib.Path(out, "text").write_text(text + "".join(pathlib.Path(p, "text").read_text() for p in before))
pathlib.Path(out, "run").write_text(os.environ["MLFLOW_RUN_ID"])
if text == "meddle":
    pathlib.Path(before[0], "more").write_text("mine")
if text == "fail":
    sys.exit("Error 0018: InvalidDatasetError: the reason")
if text == "wait":
    import time
    pathlib.Path(out, "pid").write_text(str(os.getpid()))
    time.sleep(60)
"""
LAST_LINES = {
    "convert": r"36 images looked at, \d+\.\d images/s",
    "transformation": r"operations: \[.*\]",
    "network": r"resnet18 with random weights is in .*",
    "hold_out": r"36 images divided, \d+\.\d images/s",
    "validation_images": r"\d+ images transformed, \d+\.\d images/s",
    "score": r"4 images scored, \d+\.\d images/s",
}
"""What each component came to."""


def run(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | variables
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline of two steps that write texts."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "work.py").write_text(WORK)
    (tmp_path / "work.yaml").write_text(COMPONENT)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path / "pipeline.yaml"


def text(folder: Path, step: str) -> str:
    return (folder / step / "outputs" / "out" / "text").read_text()


def test_a_step_that_writes_to_its_input_fails_as_it_would_on_a_read_only_mount(pipeline: Path, tmp_path: Path) -> None:
    result = run(pipeline, "--input", "text=meddle", "--output_dir", "out", cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: PipelineError: step second wrote to its input before, which Azure ML mounts read-only")


def test_steps_run_in_order_and_finished_unchanged_ones_only_once(pipeline: Path, tmp_path: Path) -> None:
    first = run(pipeline, "--output_dir", "out", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert text(tmp_path / "out", "second") == "helloone"
    assert "42.5" in first.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in first.stdout
    again = run(pipeline, "--output_dir", "out", "--input", "text=a b", cwd=tmp_path)
    assert "first: reused" in again.stdout
    assert "second: finished" in again.stdout
    shutil.rmtree(tmp_path / "out" / "first" / "outputs" / "out")
    assert "first: finished" in run(pipeline, "--output_dir", "out", "--input", "text=a b", cwd=tmp_path).stdout
    assert text(tmp_path / "out", "second") == "a bone"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}")
    statuses = {
        step: client.get_run((tmp_path / "out" / step / "outputs" / "out" / "run").read_text()).info
        for step in ("first", "second")
    }
    assert {step: (info.run_name, info.status) for step, info in statuses.items()} == {
        "first": ("first", "FINISHED"), "second": ("second", "FINISHED"),
    }  # fmt: skip


def test_the_first_error_is_shown_with_its_log(pipeline: Path, tmp_path: Path) -> None:
    result = run(pipeline, "--output_dir", "out", "--input", "text=fail", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "Error: PipelineError: step second failed (exit code 1)",
        "  Error 0018: InvalidDatasetError: the reason",
        f"its log: {tmp_path / 'out' / 'second' / 'user_logs' / 'std_log.txt'}",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_process_and_goes_on_later(pipeline: Path, tmp_path: Path, number: signal.Signals) -> None:
    runner = subprocess.Popen(
        [*COMMAND, str(pipeline), "--output_dir", "out", "--input", "text=wait"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    pid = tmp_path / "out" / "second" / "outputs" / "out" / "pid"
    while not pid.exists() or not pid.read_text():
        assert runner.poll() is None
        time.sleep(0.05)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert errors.decode().splitlines() == ["stopped; the same command with --output_dir out goes on"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert "first: reused" in run(pipeline, "--output_dir", "out", cwd=tmp_path).stdout


def test_a_folder_of_somebody_else_is_refused(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    result = run(pipeline, "--output_dir", "out", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "not the folder of an earlier run" in result.stderr


def test_a_tracking_server_that_is_down_costs_a_warning(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "code" / "work.py").write_text(WORK.replace('["MLFLOW_RUN_ID"]', '.get("MLFLOW_RUN_ID", "")'))
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    result = run(pipeline, "--output_dir", "out", cwd=tmp_path, **down)
    assert result.returncode == 0, result.stderr
    assert "warning: MLflow at http://127.0.0.1:9 does not answer" in result.stdout


def test_the_products_graph_runs_from_photos_to_an_evaluation_with_two_processes(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", per_class=12, size=(50, 40))
    words = [ROOT / "pipelines" / "train_and_score.yaml", "--output_dir", "out"]
    for pair in ("images=photos", "image_size=32", "epochs=2", "batch_size=4", "learning_rate=0.01"):
        words += ["--input", pair]
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    metrics = json.loads((out / "evaluate" / "outputs" / "evaluation_results" / "metrics.json").read_text())["metrics"]
    said = [line for line in result.stdout.splitlines() if not line.startswith("report: ")]
    assert said[-1] == f"top-1 {100 * metrics['Overall accuracy']:.1f} %"
    assert [line for line in said if re.match(r"train: epoch \d/2 \| .* \| top-1 ", line)]
    model = read_model_directory(out / "train" / "outputs" / "trained_model")
    assert model.training["processes"] == 2
    assert model.operations == [["Resize", 32], ["CenterCrop", 32]]
    scored = read_data_frame_directory(out / "score" / "outputs" / "scored_dataset")
    assert len(scored.ids) == metrics["Images"] == 4
    logs = sorted(path.name for path in (out / "train" / "user_logs").iterdir())
    assert logs == ["std_log_process_0.txt", "std_log_process_1.txt"]
    for step, last_line in LAST_LINES.items():
        assert re.fullmatch(last_line, next((out / step / "user_logs").iterdir()).read_text().splitlines()[-1]), step
    client = mlflow.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert runs["train"].data.metrics["Top-1 validation accuracy"] <= 1
    assert runs["evaluate"].data.metrics == metrics
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
