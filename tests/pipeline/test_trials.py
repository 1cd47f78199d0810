"""Whole runs of sweeps over tiny trials, and of one over Train PyTorch Model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from conftest import ROOT
from processes import run_words, with_database
from sweeps import RATES, SWEEP, WORK, write

from designer_vision.formats.model_directory import read_model_directory
from designer_vision.pipeline.log import MORE_WARNINGS, MOST_WARNINGS
from designer_vision.pipeline.sweep_page import PAGE


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return run_words(["designer-vision", "run", *words, "--output_dir", "out"], with_database(environment), cwd, 280)


def trials(folder: Path, sweep: str = "search") -> dict[int, dict[str, Any]]:
    """What the sweep's record says of each trial."""
    record = json.loads((folder / "out" / sweep / "step.json").read_text())
    return {trial["number"]: trial for trial in record["sweep"]["trials"]}


def test_the_best_trials_output_is_the_sweeps_and_all_trials_are_told(tmp_path: Path) -> None:
    pipeline = write(tmp_path, limits={"max_total_trials": "${{parent.inputs.trials}}"})
    result = run(pipeline, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    assert (out / "after" / "outputs" / "out" / "text").read_text() == "1 0.0 1 5 6 0.0 1"
    assert "search: trial 2/3 | course 5 6 | score 6 | the best so far" in result.stdout
    table = result.stdout.partition("trials of search, by score:\n")[2].splitlines()
    assert [line.split()[0] for line in table[:4]] == ["trial", "2", "3", "1"]
    assert "report: out/search/sweep.html" in result.stdout
    copied, own = (out / "search" / path / "outputs" / "out" / "text" for path in ("", "trial_2"))
    assert copied.samefile(own)
    assert not list(out.rglob("*.tmp"))
    assert {number: trial["reported"] for number, trial in trials(tmp_path).items()} == {1: [1, 2], 2: [5, 6], 3: [3]}
    client = mlflow.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert runs["search/trial_2"].data.tags["mlflow.parentRunId"] == runs["search"].info.run_id
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    again = run(pipeline, cwd=tmp_path)
    assert "search: reused" in again.stdout
    assert table[:4] == again.stdout.partition("trials of search, by score:\n")[2].splitlines()[:4]


def test_more_trials_keep_those_that_there_are_and_fewer_remove_the_rest(tmp_path: Path) -> None:
    pipeline = write(
        tmp_path, **RATES | {"limits": {"max_total_trials": "${{parent.inputs.trials}}", "max_concurrent_trials": 2}}
    )
    assert run(pipeline, "--input", "trials=2", cwd=tmp_path).returncode == 0
    first = trials(tmp_path)
    more = run(pipeline, "--input", "trials=4", cwd=tmp_path)
    assert "search: its search changed: trials that are still the same are kept" in more.stdout
    kept = trials(tmp_path)
    assert ({number: kept[number] for number in first}, len(kept)) == (first, 4)
    assert run(pipeline, "--input", "trials=1", cwd=tmp_path).returncode == 0
    assert trials(tmp_path) == {1: first[1]}
    assert [folder.name for folder in (tmp_path / "out" / "search").glob("trial_*")] == ["trial_1"]


def test_a_sweep_that_is_killed_and_run_again_has_the_trials_of_one_that_was_not(tmp_path: Path) -> None:
    space = RATES["search_space"] | {"course": {"type": "choice", "values": ["1 third 2"]}}
    pipeline = write(tmp_path, search_space=space, sampling_algorithm="bayesian", limits={"max_total_trials": 4})
    command = [str(Path(sys.executable).parent / "designer-vision"), "run", str(pipeline), "--output_dir", "out"]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    while not pid.exists() or not pid.read_text():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    os.kill(int(pid.read_text()), signal.SIGKILL)
    finished = (tmp_path / "out" / "search" / "trial_1" / "step.json").read_bytes()
    (tmp_path / "now").touch()
    result = run(pipeline, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "search" / "trial_1" / "step.json").read_bytes() == finished
    resumed = trials(tmp_path)
    (tmp_path / "out").rename(tmp_path / "before")
    assert run(pipeline, cwd=tmp_path).returncode == 0
    for number, trial in trials(tmp_path).items():
        assert (trial["values"], trial["reported"]) == (resumed[number]["values"], resumed[number]["reported"])


@pytest.mark.parametrize(
    ("policy", "courses", "stopped"),
    [
        ({"type": "median_stopping", "delay_evaluation": 2}, ["5 6 7", "1 2 wait", "6 2 2"], (2, "median_stopping at 2")),
        ({"type": "bandit", "slack_amount": 1, "evaluation_interval": 1}, ["5 6 7", "4.5 6", "4.5 4.9 wait"], (3, "bandit at 2")),
    ],
)
def test_a_trial_that_is_behind_is_asked_to_end_and_counts_with_what_it_had(
    tmp_path: Path, policy: dict, courses: list[str], stopped: tuple[int, str]
) -> None:
    pipeline = write(tmp_path, search_space={"course": {"type": "choice", "values": courses}}, early_termination=policy)
    for _ in range(2):
        result = run(pipeline, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        found = trials(tmp_path)
        number, why = stopped
        assert {each: trial["phase"] for each, trial in found.items() if trial["phase"] != "finished"} == {number: "stopped"}
        assert (found[number]["why"], len(found[number]["reported"])) == (why, 2)
        assert found[1]["reported"] == [5, 6, 7]
        assert (tmp_path / "out" / "search" / f"trial_{number}" / "outputs" / "out" / "asked").exists()
        assert (tmp_path / "out" / "after" / "outputs" / "out" / "text").read_text().startswith("1 0.0 1 5 6 7")
        (tmp_path / "out" / "search" / "step.json").unlink()  # so that all trials are looked at again
    assert f"trial {number}/3" in result.stdout
    assert "search/trial" not in result.stdout  # nothing was replaced


def test_a_trial_that_fails_is_told_and_costs_the_sweep_nothing_else(tmp_path: Path) -> None:
    pipeline = write(tmp_path, search_space={"course": {"type": "choice", "values": ["1", "7 fail", "3"]}})
    result = run(pipeline, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"search: trial 2/3 .* \| failed: .*trial_2 failed \(exit code 1\); Error 0018: .*the reason; its log: ", result.stdout
    )
    assert (tmp_path / "out" / "after" / "outputs" / "out" / "text").read_text() == "1 0.0 1 3 0.0 1"
    assert "Error 0018" in (tmp_path / "out" / "search" / PAGE).read_text()


def test_a_sweep_whose_trials_all_warn_of_something_else_tells_some_of_it(tmp_path: Path) -> None:
    values = list(range(1, MOST_WARNINGS + 4))
    pipeline = write(
        tmp_path, search_space={"course": {"type": "choice", "values": values}}, limits={"max_total_trials": len(values)}
    )
    (tmp_path / "code" / "work.py").write_text(WORK + 'print(f"warning: {course} is odd")\n')
    assert run(pipeline, "--events", "events.jsonl", cwd=tmp_path).returncode == 0
    events = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    told = [event["warnings"] for event in events if event["event"] == "step" and event["step"] == "search"][-1]
    assert told == [*(f"{value} is odd" for value in values[:MOST_WARNINGS]), MORE_WARNINGS]


def test_when_all_trials_fail_the_sweep_fails_with_the_first_ones_error_and_keeps_the_logs(tmp_path: Path) -> None:
    pipeline = write(tmp_path, search_space={"course": {"type": "choice", "values": ["fail", "1 fail"]}})
    result = run(pipeline, cwd=tmp_path)
    assert result.returncode == 1
    line = result.stderr.splitlines()[0]
    assert "step search: none of 2 trials has finished; the first: step search/trial_1 failed (exit code 1)" in line
    assert "the reason" in line
    assert "Error 0018" in (tmp_path / "out" / "search" / "trial_2" / "user_logs" / "std_log.txt").read_text()
    (tmp_path / "code" / "work.py").write_text(WORK.replace('word == "fail"', "False").replace("float(word)", "2"))
    assert run(pipeline, cwd=tmp_path).returncode == 0


def test_a_metric_that_nobody_reports_is_told_after_the_first_trial_with_those_that_there_are(tmp_path: Path) -> None:
    pipeline = write(tmp_path, objective={"goal": "minimize", "primary_metric": "loss"})
    result = run(pipeline, cwd=tmp_path)
    assert result.returncode == 1
    message = "search/trial_1 has finished and never reported 'loss', the primary_metric of search; it reported other, score"
    assert message in result.stderr
    assert not (tmp_path / "out" / "search" / "trial_2").exists()
    assert message in run(pipeline, cwd=tmp_path).stderr  # also where the trial is reused
    write(tmp_path)
    again = run(pipeline, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_two_learning_rates_are_searched_and_the_better_network_is_the_steps(
    tmp_path: Path, untrained_model: Path, datasets: tuple[Path, Path]
) -> None:
    pipeline = {
        "type": "pipeline",
        "settings": {"default_compute": "serverless"},
        "jobs": {
            "train": SWEEP
            | {
                "trial": str(ROOT / "component" / "train_pytorch_model.yaml"),
                "search_space": {"learning_rate": {"type": "choice", "values": [0.02, 1e-9]}},
                "objective": {"goal": "minimize", "primary_metric": "Valid loss"},
                "inputs": {
                    "untrained_model": {"type": "uri_folder", "path": str(untrained_model)},
                    "training_dataset": {"type": "uri_folder", "path": str(datasets[0])},
                    "validation_dataset": {"type": "uri_folder", "path": str(datasets[1])},
                    "epochs": 1,
                    "batch_size": 18,
                },
            }
        },
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    result = run(tmp_path / "pipeline.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = {number: min(trial["reported"]) for number, trial in trials(tmp_path, "train").items()}
    assert all(len(trial["reported"]) == 1 for trial in trials(tmp_path, "train").values())
    best = min(found, key=found.__getitem__)
    model = read_model_directory(tmp_path / "out" / "train" / "outputs" / "trained_model")
    assert model.training["learning_rate"] == {1: 0.02, 2: 1e-9}[best]
    assert "report: out/train/outputs/trained_model/report.html" in result.stdout
    lines = (
        (tmp_path / "out" / "train" / f"trial_{best}" / "outputs" / "trained_model" / "metrics.jsonl").read_text().splitlines()
    )
    assert min(json.loads(line)["Valid loss"] for line in lines) == found[best]
