"""A pipeline of a sweep over tiny trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

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
