"""Where the metrics of a local run go: an MLflow run for each step, as Azure ML gives each job one."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from designer_vision.runtime.machine import die_with_parent
from designer_vision.runtime.tracking import import_mlflow

STATUSES = {"finished": "FINISHED", "stopped": "KILLED"}
"""MLflow's, of a trial's phases; a trial that was stopped did not fail."""


@dataclass(frozen=True)
class Metrics:
    """What a run has logged.

    Attributes:
        values: of the metric that was asked for, in the order of their steps.
        names: of all its metrics.
    """

    values: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


class Experiment:
    """MLflow runs for the steps: in a SQLite file of the output folder, or where MLFLOW_TRACKING_URI says.

    MLflow takes seconds to load; a process of its own does that beside the loading of the pipeline. A tracking server that does
    not answer costs the run its metrics, not its life.
    """

    def __init__(self, name: str) -> None:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._name = name
        self._runs: dict[str, str] = {}
        self._mlflow = ProcessPoolExecutor(1, get_context("spawn"), _begin, (os.getpid(),))
        self._mlflow.submit(_load, self.uri)
        self._opening: Future[tuple[str, str]]

    def open(self, folder: Path) -> None:
        """Use this output folder."""
        artifacts = None if self.uri else (folder / "mlflow_artifacts").as_uri()
        self.uri = self.uri or f"sqlite:///{folder / 'mlflow.db'}"
        self._opening = self._mlflow.submit(_open, self.uri, self._name, artifacts)

    def variables(self, step: str) -> dict[str, str]:
        """A new run for a step, and the variables that lead MLflow there."""
        variables = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_EXPERIMENT_NAME": self._name}
        try:
            experiment, whole = self._opening.result()
            parent = self._runs.get(step.rpartition("/")[0], whole)  # a trial's is its sweep's
            run = self._mlflow.submit(_create_run, self.uri, experiment, step, {"mlflow.parentRunId": parent}).result()
        except Exception as error:  # noqa: BLE001 (whatever MLflow's store and server raise)
            self._warn(error)
            return variables
        self._runs[step] = run
        return variables | {"MLFLOW_RUN_ID": run, "MLFLOW_EXPERIMENT_ID": experiment}

    def ask(self, step: str, metric: str) -> Future[Metrics] | None:
        """What a step has logged, as soon as MLflow tells it; None where the step has no run."""
        run = self._runs.get(step)
        return None if run is None else self._mlflow.submit(_metrics, self.uri, run, metric)

    def answer(self, asked: Future[Metrics]) -> Metrics:
        """What was asked for; nothing, and a warning, where MLflow does not answer."""
        try:
            return asked.result()
        except Exception as error:  # noqa: BLE001 (as above)
            self._warn(error)
            return Metrics()

    def close(self, finished: Mapping[str, bool], trials: Mapping[str, str]) -> None:
        """Mark the runs of these steps, and the whole, as finished or failed, and those of trials by their phases."""
        try:
            if self._runs:
                _, parent = self._opening.result()
                statuses = {step: "FINISHED" if well else "FAILED" for step, well in finished.items()}
                statuses |= {trial: STATUSES.get(phase, "FAILED") for trial, phase in trials.items()}
                ended = {run: statuses.get(step, "FAILED") for step, run in self._runs.items()}
                whole = "FINISHED" if all(finished.values()) else "FAILED"
                self._mlflow.submit(_end_runs, self.uri, ended | {parent: whole}).result()
        except Exception as error:  # noqa: BLE001 (as above)
            self._warn(error)
        self._mlflow.shutdown(wait=False)

    def _warn(self, error: Exception) -> None:
        print(f"warning: MLflow at {self.uri} does not answer: {' '.join(str(error).split())[:200]}")


# What MLflow's own process does


def _begin(parent: int) -> None:
    die_with_parent(parent)
    atexit.register(gc.freeze)  # the run waits for this process's end, and collecting what MLflow leaves takes a second
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then marks its runs as failed


def _load(uri: str) -> None:
    """Import what `_open` will use."""
    import_mlflow()
    if not uri or uri.startswith("sqlite:"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _client(uri: str) -> Any:
    return import_mlflow().MlflowClient(uri)


def _open(uri: str, name: str, artifacts: str | None) -> tuple[str, str]:
    """The experiment, and the run that stands for the whole."""
    client = _client(uri)
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name, artifacts)
    return experiment, _create_run(uri, experiment, f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}", {})


def _create_run(uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    run: str = _client(uri).create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
    return run


def _metrics(uri: str, run: str, metric: str) -> Metrics:
    client = _client(uri)
    history = sorted(client.get_metric_history(run, metric), key=lambda entry: (entry.step, entry.timestamp))
    return Metrics(tuple(float(entry.value) for entry in history), tuple(sorted(client.get_run(run).data.metrics)))


def _end_runs(uri: str, statuses: Mapping[str, str]) -> None:
    for run, status in statuses.items():
        _client(uri).set_terminated(run, status)
