"""The whole way: the runner on small pipelines of any commands, and on the product's own graph with two processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from conftest import ROOT, hear_ctrl_c, make_photos
from processes import run_cold, run_words

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.model_directory import read_model_directory

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
    "convert": r"36 images read, \d+\.\d images/s",
    "transformation": r"operations: \[.*\]",
    "network": r"resnet18 with random weights is in .*",
    "hold_out": r"36 images divided, \d+\.\d images/s",
    "validation_images": r"\d+ images transformed, \d+\.\d images/s",
    "score": r"4 images scored, \d+\.\d images/s",
}
"""What each component came to."""


def run(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | variables
    return run_words(["designer-vision", "run", *words], environment, cwd, 300)


def run_anew(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in a new interpreter, whose hashes are others."""
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return run_cold(["designer-vision", "run", *words], environment, cwd, 300)


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
    line, resume = result.stderr.splitlines()
    assert resume.startswith("to resume: ")
    assert line.startswith("Error: PipelineError: step second wrote to its input before, which Azure ML mounts read-only")


def test_steps_run_in_order_and_finished_unchanged_ones_only_once(pipeline: Path, tmp_path: Path) -> None:
    first = run(pipeline, "--output_dir", "out", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert text(tmp_path / "out", "second") == "helloone"
    assert "42.5" in first.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in first.stdout
    again = run_anew(pipeline, "--output_dir", "out", "--input", "text=a b", cwd=tmp_path)
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
        f"to resume: {shlex.join([*COMMAND, str(pipeline), '--input', 'text=fail', '--output_dir', 'out'])}",
    ]
    table = [line.split()[:3] for line in result.stdout.splitlines()[-2:]]
    assert table == [["✓", "first", "finished"], ["✗", "second", "failed"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_process_and_goes_on_later(pipeline: Path, tmp_path: Path, number: signal.Signals) -> None:
    runner = subprocess.Popen(
        [*COMMAND, str(pipeline), "--output_dir", "out", "--input", "text=wait"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,
    )
    pid = tmp_path / "out" / "second" / "outputs" / "out" / "pid"
    while not pid.exists() or not pid.read_text():
        assert runner.poll() is None
        time.sleep(0.05)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 130
    words = [*COMMAND, str(pipeline), "--input", "text=wait", "--output_dir", "out"]
    assert errors.decode().splitlines() == [f"stopped; to resume: {shlex.join(words)}"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert "first: reused" in run(pipeline, "--output_dir", "out", cwd=tmp_path).stdout


def test_the_line_that_resumes_a_run_can_be_pasted_whatever_the_names_are(tmp_path: Path, pipeline: Path) -> None:
    odd = pipeline.rename(tmp_path / "it's a $(pipeline).yaml")
    result = run(odd, "--output_dir", "my out", "--input", "text=fail", cwd=tmp_path)
    line = result.stderr.splitlines()[-1].removeprefix("to resume: ")
    again = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "first: reused" in again.stdout
    assert again.stderr.splitlines()[0] == "Error: PipelineError: step second failed (exit code 1)"
    assert not (tmp_path / "runs").exists()


def test_a_second_run_in_the_same_folder_is_refused_with_the_first_ones_process(pipeline: Path, tmp_path: Path) -> None:
    events = ["--events", "events.jsonl"]
    first = subprocess.Popen([*COMMAND, str(pipeline), "--output_dir", "out", "--input", "text=wait", *events], cwd=tmp_path)
    pid = tmp_path / "out" / "second" / "outputs" / "out" / "pid"
    while not pid.exists() or not pid.read_text():
        assert first.poll() is None
        time.sleep(0.05)
    log = (tmp_path / "out" / "second" / "user_logs" / "std_log.txt").read_text()
    told = (tmp_path / "events.jsonl").read_text()
    second = run(pipeline, "--output_dir", "out", *events, cwd=tmp_path)
    assert second.returncode == 1
    assert (tmp_path / "events.jsonl").read_text().startswith(told)
    assert second.stderr == (
        f"Error: PipelineError: another run, process {first.pid}, is writing to {tmp_path / 'out'}; "
        "wait for it, or give another --output_dir\n"
    )
    assert (tmp_path / "out" / "second" / "user_logs" / "std_log.txt").read_text() == log
    first.kill()
    first.wait()
    assert run(pipeline, "--output_dir", "out", cwd=tmp_path).returncode == 0  # a dead run holds nothing


@pytest.mark.parametrize(
    "words", [["--input", "text=a", "--input", "none=1"], ["--input", "second.nothing=1"], ["--input", "images"]]
)
def test_what_is_wrong_before_the_first_step_leaves_no_folder(pipeline: Path, tmp_path: Path, words: list[str]) -> None:
    before = sorted(tmp_path.iterdir())
    result = run(pipeline, "--output_dir", "new/out", *words, cwd=tmp_path)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_first_step_that_cannot_start_leaves_no_folder(pipeline: Path, tmp_path: Path) -> None:
    work = pipeline.parent / "work.yaml"
    work.write_text(work.read_text().replace("python work.py", "not_on_this_machine"))
    before = sorted(tmp_path.iterdir())
    result = run(pipeline, "--output_dir", "new/out", cwd=tmp_path)
    assert "step first cannot start: not_on_this_machine is not on this machine" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_finished_step_that_is_replaced_says_what_changed(pipeline: Path, tmp_path: Path) -> None:
    run(pipeline, "--output_dir", "out", cwd=tmp_path)
    again = run(pipeline, "--output_dir", "out", "--input", "text=other", cwd=tmp_path).stdout
    assert "second: text hello -> other: what it had finished is replaced" in again
    assert "first: reused" in again
    (tmp_path / "code" / "work.py").write_text(WORK + "# another")
    again = run(pipeline, "--output_dir", "out", "--input", "text=other", cwd=tmp_path).stdout
    assert "first: its code changed: what it had finished is replaced" in again


def test_a_steps_own_input_can_be_given(pipeline: Path, tmp_path: Path) -> None:
    result = run(pipeline, "--output_dir", "out", "--input", "first.text=mine", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert text(tmp_path / "out", "second") == "hellomine"


def test_warnings_are_shown_when_they_come_and_once_more_in_the_end_also_of_reused_steps(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "code" / "work.py").write_text(WORK + 'print("warning: the same in both")\nprint(f"warning: {text} only")\n')
    for phase in ("finished", "reused"):
        lines = run(pipeline, "--output_dir", "out", cwd=tmp_path).stdout.splitlines()
        table = next(number for number, line in enumerate(lines) if line.split()[:2] == ["step", "time"])
        assert {line.split()[2] for line in lines[table + 1 : table + 3]} == {phase}
        assert "first: warning: the same in both" in lines[:table]
        assert [line for line in lines[table:] if "warning" in line] == [
            "first, second: warning: the same in both",
            "first: warning: one only",
            "second: warning: hello only",
        ]


def test_steps_that_need_nothing_of_each_other_run_side_by_side_and_end_together(pipeline: Path, tmp_path: Path) -> None:
    """Each waits for a file of the other, and so would never end alone."""
    (tmp_path / "code" / "work.py").write_text(
        "import pathlib, sys, time\n"
        "text, out, *before = sys.argv[1:]\n"
        "place = pathlib.Path(out).parents[2]\n"
        "(place / text).touch()\n"
        "while not all((place / name).exists() for name in 'ab'): time.sleep(0.05)\n"
        "pathlib.Path(out, 'text').touch()\n"
    )
    jobs = "".join(f"  {name}: {{type: command, component: ./work.yaml, inputs: {{text: {name}}}}}\n" for name in "ab")
    pipeline.write_text(f"type: pipeline\nsettings: {{default_compute: serverless}}\njobs:\n{jobs}")
    assert run(pipeline, "--output_dir", "out", cwd=tmp_path).returncode == 0


def test_when_a_step_fails_the_one_beside_it_is_ended(pipeline: Path, tmp_path: Path) -> None:
    jobs = "".join(
        f"  {text}: {{type: command, component: ./work.yaml, inputs: {{text: {text}}}}}\n" for text in ("wait", "fail")
    )
    pipeline.write_text(f"type: pipeline\nsettings: {{default_compute: serverless}}\njobs:\n{jobs}")
    result = run(pipeline, "--output_dir", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "step fail failed (exit code 1)" in result.stderr
    assert "wait: stopped after" in result.stdout
    pid = tmp_path / "out" / "wait" / "outputs" / "out" / "pid"
    if pid.exists() and pid.read_text():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


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


def test_a_step_that_failed_is_not_taken_for_finished_whatever_it_wrote(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "code" / "work.py").write_text(
        "import pathlib, sys\npathlib.Path(sys.argv[2], '_meta.yaml').write_text('type: X')\nsys.exit(sys.argv[1] == 'one')\n"
    )
    for _ in range(2):
        result = run(pipeline, "--output_dir", "out", cwd=tmp_path)
        assert result.returncode == 1
        assert "first: failed" in result.stdout


def test_a_folder_that_a_killed_run_had_only_locked_can_be_used(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.lock").touch()
    assert run(pipeline, "--output_dir", "out", cwd=tmp_path).returncode == 0
