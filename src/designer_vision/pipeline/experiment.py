"""Where the metrics of a local run go: an MLflow run for each step, as Azure ML gives each job one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from designer_vision.tracking import import_mlflow


class Experiment:
    """MLflow runs for the steps: in a SQLite file of the output folder, or where MLFLOW_TRACKING_URI says.

    MLflow takes seconds to load; that happens beside the loading of the pipeline. A tracking server that does not
    answer costs the run its metrics, not its life.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self._name = name
        self._artifacts = (folder / "mlflow_artifacts").as_uri() if self.uri.startswith("sqlite:") else None
        self._runs: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1)
        self._opening = self._thread.submit(self._open)

    def _open(self) -> tuple[Any, str, str]:
        client = import_mlflow().MlflowClient(self.uri)
        found = client.get_experiment_by_name(self._name)
        experiment = found.experiment_id if found else client.create_experiment(self._name, self._artifacts)
        parent = client.create_run(experiment, run_name=f"{self._name} {time.strftime('%Y-%m-%d %H:%M:%S')}")
        return client, experiment, parent.info.run_id

    def variables(self, step: str) -> dict[str, str]:
        """A new run for a step, and the variables that lead MLflow there."""
        variables = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_EXPERIMENT_NAME": self._name}
        try:
            client, experiment, parent = self._opening.result()
            run = client.create_run(experiment, run_name=step, tags={"mlflow.parentRunId": parent})
        except Exception as error:  # noqa: BLE001 (whatever MLflow's store and server raise)
            self._warn(error)
            return variables
        self._runs[step] = run.info.run_id
        return variables | {"MLFLOW_RUN_ID": run.info.run_id, "MLFLOW_EXPERIMENT_ID": experiment}

    def close(self, finished: Mapping[str, bool]) -> None:
        """Mark the runs of these steps, and the whole, as finished or failed."""
        try:
            if self._runs:
                client, _, parent = self._opening.result()
                for step, run in self._runs.items():
                    client.set_terminated(run, "FINISHED" if finished.get(step) else "FAILED")
                client.set_terminated(parent, "FINISHED" if all(finished.values()) else "FAILED")
        except Exception as error:  # noqa: BLE001 (as above)
            self._warn(error)
        self._thread.shutdown(wait=False)

    def _warn(self, error: Exception) -> None:
        print(f"warning: MLflow at {self.uri} does not answer: {' '.join(str(error).split())[:200]}")
