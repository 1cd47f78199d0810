"""MLflow, on the main rank, beside the work: nobody waits for it and its failure stops nothing."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from designer_vision.runtime.console import say


def import_mlflow() -> Any:
    """The mlflow module, quiet and without telemetry; importing it takes seconds, so it happens where it is needed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7, with growing pauses, are minutes a message
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import mlflow

    return mlflow


PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Between two tries to send the same message; each pause is twice the last."""
LOOKING_SECONDS = 5.0
"""For what a run holds already; every other message waits meanwhile."""
CLOSING_SECONDS, CLOSING_SECONDS_OF_A_FAILURE = 15.0, 3.0
"""For what was not sent yet: a job that failed or was stopped has no time."""


class Tracker:
    """Sends metrics and artifacts from one background thread, in order; what fails is tried again until the end.

    On Azure ML, and under our runner, MLFLOW_RUN_ID names the run of the job. Elsewhere a new run is started where
    MLFLOW_TRACKING_URI says.

    Args:
        enabled: False on every rank but the main one: all calls do nothing.
        kept_in: a file that will hold the metrics too, to be named where MLflow did not take them.
    """

    def __init__(self, enabled: bool = True, kept_in: Path | None = None) -> None:
        self._enabled, self._kept_in = enabled, kept_in
        self._messages: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue()
        self._closing = threading.Event()
        self._count, self._sent = 0, 0
        self._reason = ""
        self._client: Any = None
        self._run_id = ""
        self._own_run = False
        self._logged: set[int] = set()
        if enabled:
            self._submit(self._open)
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log some metrics of one step."""
        if self._enabled:
            self._submit(self._log_metrics, dict(metrics), step)

    def log_artifact(self, path: Path) -> None:
        """Log a file beside the run."""
        if self._enabled:
            self._submit(self._log_artifact, path)

    def resume(self, history: Sequence[tuple[int, Mapping[str, float]]], name: str) -> None:
        """Have the run hold each step once: send those of the history that it lacks, and none again that it has.

        Where the server does not tell what it has, which Azure's has refused, all steps are sent.

        Args:
            history: steps and their metrics, so far.
            name: of a metric that every step has.
        """
        if not self._enabled:
            return
        self._submit(self._look_what_is_logged, name)
        for step, metrics in history:
            self.log_metrics(metrics, step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait a little for what is under way and say what could not be sent."""
        if not self._enabled:
            return
        self._submit(self._close, "FINISHED" if error is None else "FAILED")
        self._messages.put(None)
        self._closing.set()
        self._thread.join(CLOSING_SECONDS if error is None else CLOSING_SECONDS_OF_A_FAILURE)
        if self._sent < self._count:
            kept = f"; the metrics are in {self._kept_in}" if self._kept_in is not None and self._kept_in.exists() else ""
            reason = self._reason or "no answer"
            say(f"warning: MLflow did not take {self._count - self._sent} of {self._count} messages: {reason}{kept}")

    def _submit(self, send: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        self._messages.put((send, arguments))

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            send, arguments = message
            pause = PAUSE_SECONDS
            while not self._try(send, arguments):
                if self._closing.is_set():
                    return  # one that fails at the end would be followed by others
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _try(self, send: Callable[..., None], arguments: tuple[Any, ...]) -> bool:
        try:
            send(*arguments)
        except Exception as error:  # noqa: BLE001 (whatever MLflow's store and server raise)
            self._reason = " ".join(str(error).split())[:200]
            return False
        self._sent += 1
        return True

    def _open(self) -> None:
        self._client = import_mlflow().MlflowClient()
        self._run_id = os.environ.get("MLFLOW_RUN_ID", "")
        if not self._run_id:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            self._run_id = self._client.create_run(experiment_id).info.run_id
            self._own_run = True

    def _look_what_is_logged(self, name: str) -> None:
        """One try, of a few seconds: a step that is there twice is better than a run without metrics."""

        def look() -> None:
            with suppress(Exception):  # whatever MLflow's store and server raise
                self._logged = {metric.step for metric in self._client.get_metric_history(self._run_id, name)}

        if not self._own_run:
            thread = threading.Thread(target=look, name="mlflow history", daemon=True)
            thread.start()
            thread.join(LOOKING_SECONDS)

    def _log_metrics(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        if step not in self._logged:
            now = int(time.time() * 1000)
            self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def _log_artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path))

    def _close(self, status: str) -> None:
        if self._own_run:  # a job's run is the job's to end
            self._client.set_terminated(self._run_id, status)
