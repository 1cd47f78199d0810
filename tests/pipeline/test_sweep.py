"""Sweeps: what their YAML means, what is drawn, and whole runs of tiny trials."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import mlflow
import pytest
import yaml
from conftest import ROOT
from processes import run_words, with_database

from designer_vision.formats.model_directory import read_model_directory
from designer_vision.pipeline.checks import check
from designer_vision.pipeline.early_termination import Policy
from designer_vision.pipeline.sampling import propose
from designer_vision.pipeline.sweep import Objective, Standing, Sweep, Trial, read_distribution, read_sweep
from designer_vision.pipeline.sweep_page import PAGE, write_page
from designer_vision.runtime.errors import DesignerError

COMPONENT = """
type: command
name: work
version: 1
inputs:
  course: {type: string, default: "1"}
  rate: {type: number, default: 0, min: 0, max: 10}
  count: {type: integer, default: 1, min: 1, max: 64}
  before: {type: uri_folder, optional: true}
outputs: {out: {type: uri_folder}}
code: ./code
environment: {image: python}
command: python work.py "${{inputs.course}}" "${{inputs.rate}}" "${{inputs.count}}" "${{outputs.out}}" $[["${{inputs.before}}"]]
"""
WORK = """
import os, pathlib, signal, sqlite3, sys, time
course, rate, count, out, *before = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(out, "asked").touch(), sys.exit(1)))
database = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")

def log(name, value, step):  # as mlflow.log_metric does, whose import takes seconds
    row = (name, value, int(1000 * time.time()), os.environ["MLFLOW_RUN_ID"], step)
    with sqlite3.connect(database, timeout=30) as connection:
        for table in ("metrics", "latest_metrics"):
            columns = "(key, value, timestamp, run_uuid, step, is_nan)"
            connection.execute(f"insert or replace into {table} {columns} values (?, ?, ?, ?, ?, 0)", row)

for step, word in enumerate(course.split(), 1):
    print(f"epoch {step}/{len(course.split())} | 10.0 images/s | loss {1 / step:.4f}", flush=True)
    if word == "fail":
        sys.exit("Error 0018: InvalidDatasetError: the reason")
    if word == "third" and "trial_3" in out and not pathlib.Path(out).parents[4].joinpath("now").exists():
        pathlib.Path(out).parents[4].joinpath("pid").write_text(str(os.getpid()))
        time.sleep(60)
    elif word == "wait":
        time.sleep(60)
    elif word != "third":
        log("score", float(word) + float(rate), step)
    log("other", 1, step)
pathlib.Path(out, "text").write_text(" ".join([course, rate, count, *(pathlib.Path(p, "text").read_text() for p in before)]))
"""
SWEEP = {
    "type": "sweep",
    "trial": "./work.yaml",
    "sampling_algorithm": "grid",
    "search_space": {"course": {"type": "choice", "values": ["1 2", "5 6", "3"]}},
    "objective": {"goal": "maximize", "primary_metric": "score"},
    "limits": {"max_total_trials": 6},
}
RATES = {"search_space": {"rate": {"type": "uniform", "min_value": 0, "max_value": 2}}, "sampling_algorithm": "random"}


def write(folder: Path, **changes: Any) -> Path:
    """A pipeline of a sweep, and a step that reads its best trial's output."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "work.py").write_text(WORK)
    (folder / "work.yaml").write_text(COMPONENT)
    sweep = {name: value for name, value in (SWEEP | changes).items() if value is not None}
    after = {"type": "command", "component": "./work.yaml", "inputs": {"before": "${{parent.jobs.search.outputs.out}}"}}
    jobs = {"search": sweep, "after": after}
    pipeline = {"type": "pipeline", "settings": {"default_compute": "serverless"}, "inputs": {"trials": 3}, "jobs": jobs}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    return folder / "pipeline.yaml"


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return run_words(["designer-vision", "run", *words, "--output_dir", "out"], with_database(environment), cwd, 280)


def trials(folder: Path, sweep: str = "search") -> dict[int, dict[str, Any]]:
    """What the sweep's record says of each trial."""
    record = json.loads((folder / "out" / sweep / "step.json").read_text())
    return {trial["number"]: trial for trial in record["sweep"]["trials"]}


# What is drawn


def sweep_of(**changes: Any) -> Sweep:
    return read_sweep(SWEEP | changes, lambda written, place: int(written))


@pytest.mark.parametrize(
    ("written", "drawn", "text"),
    [
        ({"type": "uniform", "min_value": 1, "max_value": 3}, 2.5, "2.5"),
        ({"type": "loguniform", "min_value": -9.2, "max_value": -2.3}, -3.0, str(math.exp(-3.0))),
        ({"type": "quniform", "min_value": 16, "max_value": 64, "q": 16}, 39.9, "32"),
        ({"type": "quniform", "min_value": 0, "max_value": 1, "q": 0.1}, 0.31, "0.3"),
        ({"type": "qloguniform", "min_value": 0, "max_value": 5, "q": 2}, 3.0, "20"),
        ({"type": "normal", "mu": 5, "sigma": 2}, 0.5, "5.0"),
        ({"type": "lognormal", "mu": 0, "sigma": 1}, 0.5, "1.0"),
        ({"type": "qnormal", "mu": 5.2, "sigma": 1, "q": 2}, 0.5, "6"),
        ({"type": "randint", "upper": 4}, 3.0, "3"),
        ({"type": "choice", "values": ["a", 16, 0.5]}, 2.0, "0.5"),
    ],
)
def test_a_value_is_what_azures_distribution_makes_of_it(written: dict, drawn: float, text: str) -> None:
    assert read_distribution(written).value(drawn, math.e) == text


def test_the_base_of_logarithms_is_e_unless_another_is_given() -> None:
    space = {"rate": {"type": "loguniform", "min_value": -2, "max_value": -2}}
    for settings, text in (("random", math.exp(-2)), ({"type": "random", "logbase": 10}, 0.01)):
        sweep = sweep_of(search_space=space, sampling_algorithm=settings)
        assert sweep.texts(propose(sweep, []) or {}) == {"rate": str(text)}


@pytest.mark.parametrize("algorithm", ["random", "bayesian", {"type": "random", "rule": "sobol", "seed": 5}])
def test_a_proposal_depends_on_the_seed_and_on_what_was_before_only(algorithm: Any) -> None:
    space = RATES["search_space"] | {"course": SWEEP["search_space"]["course"], "count": {"type": "randint", "upper": 9}}
    sweep = sweep_of(search_space=space, sampling_algorithm=algorithm, limits={"max_total_trials": 15})
    before: list[tuple[Mapping[str, float], float | None]] = []
    for number in range(15):
        drawn = propose(sweep, before)
        assert drawn is not None
        assert propose(sweep, list(before)) == drawn
        assert 0 <= drawn["rate"] <= 2
        before.append((drawn, -abs(drawn["rate"] - 1.5) if number % 5 else None))
    assert len({sweep.texts(drawn)["rate"] for drawn, _ in before}) == 15


def test_a_bayesian_sampler_comes_closer_to_what_was_good() -> None:
    sweep = sweep_of(**RATES | {"sampling_algorithm": "bayesian", "limits": {"max_total_trials": 40}})
    before: list[tuple[Mapping[str, float], float | None]] = []
    for _ in range(40):
        drawn = propose(sweep, before) or {}
        before.append((drawn, -abs(drawn["rate"] - 1.5)))
    distances = [abs(drawn["rate"] - 1.5) for drawn, _ in before]
    assert median(distances[-20:]) < median(distances[:10]) / 2


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "grid"])
def test_no_two_trials_have_the_same_values_and_a_small_space_ends_the_sweep(algorithm: str) -> None:
    space = {"course": {"type": "choice", "values": ["a", "b"]}, "count": {"type": "choice", "values": [1, 2]}}
    sweep = sweep_of(search_space=space, sampling_algorithm=algorithm, limits={"max_total_trials": 9})
    assert sweep.total == 4
    before: list[tuple[Mapping[str, float], float | None]] = []
    while len(before) < sweep.total:
        before.append((propose(sweep, before) or {}, 1.0))
    texts = [tuple(sweep.texts(drawn).values()) for drawn, _ in before]
    assert sorted(texts) == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert algorithm != "grid" or texts == sorted(texts)


# What is compared


@pytest.mark.parametrize(
    ("policy", "own", "others", "interval"),
    [
        # running averages over 1:2 are 1.5, 5.5 and 4; their median is 4
        (Policy("median_stopping", delay=2), [1, 2], [[5, 6, 7], [6, 2]], 2),
        (Policy("median_stopping", delay=2), [6, 2], [[5, 6, 7], [1, 2]], None),
        (Policy("median_stopping"), [1, 9], [[5, 6]], 1),  # 1 is below 3, the median of 1 and 5
        (Policy("median_stopping"), [1, 2], [], None),
        (Policy("median_stopping", interval=2), [1, 9, 0], [[5, 6]], None),  # looked at once, when its best was 9
        (Policy("median_stopping"), [-math.inf, 2], [[1, 1], [1, 1]], 1),  # its first value was no number
        (Policy("bandit", slack_amount=1), [4.5, 4.9], [[5, 6, 7]], 2),  # 4.5 is within 1 of 5, 4.9 not of 6
        (Policy("bandit", slack_factor=0.2), [0.66, 0.67], [[0.8, 0.8]], 1),  # 0.8 / 1.2 is 0.667
        (Policy("bandit", slack_factor=0.2), [0.67], [[0.8]], None),
        (Policy("bandit", slack_factor=0.2), [-0.5], [[-0.4]], 1),  # a loss of 0.5, and 0.4 * 1.2 is 0.48
        (Policy("bandit", slack_factor=0.2), [-0.47], [[-0.4]], None),
        (Policy("truncation_selection", percentage=20), [2], [[1], [3], [4], [5]], None),  # one of five is cut
        (Policy("truncation_selection", percentage=40), [2], [[1], [3], [4], [5]], 1),
        (Policy("truncation_selection", percentage=20), [1], [[3], [4], [5]], None),  # a fifth of four is none
        (Policy("truncation_selection", percentage=20), [1], [[1], [1], [1], [1]], None),  # all are equal
        (Policy("bandit", slack_amount=1, delay=3), [0, 0], [[9, 9]], None),
    ],
)  # fmt: skip
def test_a_policy_ends_a_trial_at_the_interval_that_its_definition_says(
    policy: Policy, own: list[float], others: list[list[float]], interval: int | None
) -> None:
    assert policy.ends_at(own, others) == interval


def test_the_best_is_a_finished_trial_and_a_value_that_is_no_number_is_none() -> None:
    ended = [
        Trial(1, {}, "finished", (0.5, math.nan)),
        Trial(2, {}, "stopped", (0.1,)),
        Trial(3, {}, "finished", (math.nan,)),
        Trial(4, {}, "failed", (0.0,)),
        Trial(5, {}, "finished", (0.6, 0.4, 0.9)),
    ]
    standing = Standing(Objective("loss", maximize=False), 5, tuple(ended))
    assert standing.best == ended[4]
    assert [trial.number for trial in standing.ranked()] == [5, 1, 3, 2, 4]


# Whole runs


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


def test_hostile_names_forge_nothing_in_the_page(tmp_path: Path) -> None:
    name = "<script>x</script>\n"
    ended = Trial(1, {name: "<b>$x$</b>"}, "finished", (1.0,)), Trial(2, {name: "2"}, "failed", (), 0.0, "<i>why</i>")
    write_page(tmp_path, "<u>", Standing(Objective("<p>", maximize=True), 2, ended))
    page = (tmp_path / PAGE).read_text()
    for tag in ("<script>", "<b>$", "<i>", "<u>", "<p>&", "\n</script>"):
        assert tag not in page
    assert "&lt;script&gt;x&lt;/script&gt;\\n" in page


# What is refused before the first step

UNIFORM = {"type": "uniform", "min_value": 0, "max_value": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": None}, r"search\.search_space is missing; such as \{learning_rate"),
        ({"limits": None}, r"search\.limits is missing; such as \{max_total_trials: 12\}"),
        ({"objective": None}, r"search\.objective is missing"),
        (RATES | {"limits": {"timeout": 90}}, r"search\.limits\.max_total_trials is missing"),
        ({"limits": {"max_total_trials": 0}}, r"search\.limits\.max_total_trials is 0, it must not be below 1"),
        ({"limits": {"max_trials": 4}}, r"a limit of search\.limits is 'max_trials', expected one of max_total_trials"),
        ({"sampling_algorithm": "genetic"}, r"search\.sampling_algorithm is 'genetic', expected one of random, grid, bayesian"),
        ({"sampling_algorithm": None}, r"search\.sampling_algorithm is 'None', expected one of random"),
        ({"sampling_algorithm": {"type": "random", "seed": -1}}, r"sampling_algorithm\.seed is -1"),
        ({"sampling_algorithm": {"type": "grid", "seed": 1}}, r"a setting of search\.sampling_algorithm is 'seed'"),
        ({"search_space": {"rate": UNIFORM}}, r"search\.search_space\.rate is uniform, and a grid is made of `choice` only"),
        ({"search_space": {"rat": UNIFORM}}, r"the trial has no input 'rat'; it has course, rate, count$"),
        ({"search_space": {"before": UNIFORM}}, r"search_space\.before is a folder, and only parameters can be searched"),
        ({"search_space": {"rate": {"type": "choice", "values": [1, 11]}}}, r"search_space\.rate is 11\.0, it must be between 0 and 10"),
        ({"search_space": {"rate": {"type": "choice", "values": []}}}, r"search_space\.rate\.values is \[\], expected a list"),
        ({"search_space": {"rate": {"type": "choice", "values": [True]}}}, r"values has True, which Azure's client does not take; write 'True'"),
        ({"search_space": {"rate": {"type": "choice", "values": [{"a": 1}]}}}, r"values has \{'a': 1\}"),
        ({"search_space": {"rate": {"type": "choise"}}}, r"search_space\.rate\.type is 'choise', expected one of choice, randint"),
        ({"search_space": {"rate": 3}}, r"search_space\.rate is '3', expected such as"),
        ({"inputs": {"course": "1"}}, r"search: course stands in inputs and in search_space"),
        (RATES | {"search_space": {"rate": UNIFORM | {"max_value": 11}}}, r"search_space\.rate is 11\.0, it must be between 0 and 10"),
        (RATES | {"search_space": {"rate": UNIFORM | {"min_value": -1}}}, r"search_space\.rate is -1\.0"),
        (RATES | {"search_space": {"rate": UNIFORM | {"min_value": 3}}}, r"rate\.min_value is 3, above its max_value 2"),
        (RATES | {"search_space": {"rate": UNIFORM | {"max_value": "x"}}}, r"rate\.max_value is 'x', expected a number"),
        (RATES | {"search_space": {"rate": UNIFORM | {"q": 1}}}, r"an argument of search\.search_space\.rate is 'q'"),
        (RATES | {"search_space": {"rate": {"type": "loguniform", "min_value": 0.001, "max_value": 500}}}, r"exponent 500, too large"),
        (RATES | {"search_space": {"rate": {"type": "loguniform", "min_value": -9, "max_value": 3}}}, r"rate is 20\.08"),
        (RATES | {"search_space": {"count": UNIFORM}}, r"search_space\.count is '0\.0', expected a whole number"),
        (RATES | {"search_space": {"count": {"type": "randint", "upper": 9}}}, r"search_space\.count is 0, it must be between 1 and 64"),
        (RATES | {"search_space": {"rate": {"type": "normal", "mu": 1, "sigma": 0}}}, r"rate\.sigma is 0, it must be greater than 0"),
        ({"objective": {"goal": "up", "primary_metric": "score"}}, r"search\.objective\.goal is 'up', expected one of maximize, minimize"),
        ({"objective": {"goal": "maximize"}}, r"search\.objective\.primary_metric is missing"),
        ({"early_termination": "bandit"}, r"search\.early_termination is 'bandit', expected such as"),
        ({"early_termination": {"type": "bandit"}}, r"needs either slack_factor or slack_amount"),
        ({"early_termination": {"type": "bandit", "slack_factor": 1, "slack_amount": 1}}, r"needs either"),
        ({"early_termination": {"type": "truncation_selection"}}, r"truncation_percentage is 'None', expected a number"),
        ({"early_termination": {"type": "median_stopping", "slack_factor": 1}}, r"a setting of search\.early_termination is 'slack_factor'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sweep_is_told_with_its_place(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(DesignerError, match=message):
        check(write(tmp_path, **changes), {})


def test_what_is_searched_cannot_be_given(tmp_path: Path) -> None:
    with pytest.raises(DesignerError, match=r"--input search\.course gives a value for what is searched"):
        check(write(tmp_path), {"search.course": "1"})


def test_bayesian_sampling_is_remarked_on_as_azures_is_another(tmp_path: Path) -> None:
    (remark,) = check(write(tmp_path, **RATES | {"sampling_algorithm": "bayesian"}), {})
    assert remark.startswith("search samples by Optuna's TPE")
