"""MLflow, on the main rank, beside the work: nobody waits for it and its failure stops nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any


def import_mlflow() -> Any:
    """The mlflow module, quiet and without telemetry; importing it takes seconds, so it happens where it is needed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7, with growing pauses, are minutes a message
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import mlflow

    return mlflow


FAILURES_ALLOWED = 2


class Tracker:
    """Sends metrics and artifacts from one background thread, in order.

    On Azure ML, and under our runner, MLFLOW_RUN_ID names the run of the job. Elsewhere a new run is started where
    MLFLOW_TRACKING_URI says. With `enabled=False` (every rank but the main one) all calls do nothing.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._thread = ThreadPoolExecutor(1, "mlflow") if enabled else None
        self._sent: list[Future[None]] = []
        self._client: Any = None
        self._run_id = ""
        self._own_run = False
        self._failures = 0
        if self._thread:
            self._submit(self._open)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log some metrics of one step."""
        if self._thread:
            self._submit(self._log_metrics, dict(metrics), step)

    def log_artifact(self, path: Path) -> None:
        """Log a file beside the run."""
        if self._thread:
            self._submit(self._log_artifact, path)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for what is under way and say what could not be sent."""
        if not self._thread:
            return
        self._submit(self._close, "FINISHED" if error is None else "FAILED")
        self._thread.shutdown()
        failures = [failure for future in self._sent if (failure := future.exception()) is not None]
        if failures:
            reason = " ".join(str(failures[0]).split())[:200]
            print(f"warning: MLflow did not take {len(failures)} of {len(self._sent)} messages: {reason}", flush=True)

    def _submit(self, send: Callable[..., None], *arguments: Any) -> None:
        assert self._thread
        self._sent.append(self._thread.submit(self._send, send, *arguments))

    def _send(self, send: Callable[..., None], *arguments: Any) -> None:
        """Send one message; after FAILURES_ALLOWED in a row that failed, none is tried any more."""
        if self._failures >= FAILURES_ALLOWED:
            raise ConnectionError("given up")
        try:
            send(*arguments)
            self._failures = 0
        except Exception:
            self._failures += 1
            raise

    def _open(self) -> None:
        self._client = import_mlflow().MlflowClient()
        self._run_id = os.environ.get("MLFLOW_RUN_ID", "")
        if not self._run_id:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            self._run_id = self._client.create_run(experiment_id).info.run_id
            self._own_run = True

    def _log_metrics(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def _log_artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path))

    def _close(self, status: str) -> None:
        if self._own_run:  # a job's run is the job's to end
            self._client.set_terminated(self._run_id, status)
