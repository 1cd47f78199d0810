from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest

from designer_vision.runtime import tracking
from designer_vision.runtime.errors import JobStoppedError
from designer_vision.runtime.tracking import Tracker


def test_metrics_and_artifacts_land_on_the_run_that_the_job_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("job", (tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    (tmp_path / "note.txt").write_text("x")
    with Tracker() as tracker:
        tracker.log_metrics({"Train loss": 2.0, "learning rate": 0.1}, 1)
        tracker.log_metrics({"Train loss": 1.0, "learning rate": 0.05}, 2)
        tracker.log_artifact(tmp_path / "note.txt")
    history = client.get_metric_history(run.info.run_id, "Train loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0)]
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert client.get_run(run.info.run_id).info.status == "RUNNING"  # the job's run is the job's to end


def test_without_a_job_a_run_is_made_and_ended() -> None:
    with Tracker() as tracker:
        tracker.log_metrics({"x": 1.0})
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert (run.data.metrics, run.info.status) == ({"x": 1.0}, "FINISHED")


class Server(ThreadingHTTPServer):
    """As much of a tracking server as a run with metrics needs; `faults` are the status codes of its next answers, 0 for none."""

    def __init__(self, faults: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.faults, self.logged, self.never = faults, [], threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        fault = self.server.faults.pop(0) if self.server.faults else 200
        if fault == 0:
            self.server.never.wait(60)
            return
        if fault == 200 and self.path.endswith("log-batch"):
            self.server.logged += [(metric["step"], metric["value"]) for metric in content["metrics"]]
        body = json.dumps(
            {"metrics": []} if fault == 200 else {"error_code": "INTERNAL_ERROR", "message": "out of order"}
        ).encode()
        self.send_response(fault)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[int]], Server]]:
    """A server with faults, and a job's run on it."""
    servers: list[Server] = []
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "PAUSE_SECONDS", 0.05)

    def serve(faults: list[int]) -> Server:
        servers.append(Server(faults))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", servers[-1].uri)
        return servers[-1]

    yield serve
    for server in servers:
        server.never.set()
        server.shutdown()


def test_f68_what_a_server_refuses_for_a_while_is_sent_again_in_order_and_once(
    serve: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve([500, 403, 500, 200, 503])
    with Tracker() as tracker:
        for step in range(4):
            tracker.log_metrics({"x": step * 1.0}, step)
        deadline = time.monotonic() + 20
        while len(server.logged) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert server.logged == [(step, step * 1.0) for step in range(4)]
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("fault", [0, 500, 403])
def test_f68_a_server_that_hangs_or_fails_delays_nothing_and_what_was_not_sent_is_said_and_kept(
    serve: Callable, fault: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "CLOSING_SECONDS", 2.0)
    serve([fault] * 1000)
    (tmp_path / "metrics.jsonl").touch()
    with Tracker(kept_in=tmp_path / "metrics.jsonl") as tracker:
        start = time.monotonic()
        for step in range(20):
            tracker.log_metrics({"x": 1.5}, step)
        assert time.monotonic() - start < 1
    assert time.monotonic() - start < 10
    assert f"did not take 21 of 22 messages: {'no answer' if fault == 0 else ''}" in (said := capsys.readouterr().out)
    assert f"the metrics are in {tmp_path / 'metrics.jsonl'}" in said


def test_a_job_that_was_stopped_does_not_wait_for_its_metrics(serve: Callable) -> None:
    serve([0] * 10)
    start = time.monotonic()
    with pytest.raises(JobStoppedError), Tracker():
        raise JobStoppedError("stopped")
    assert time.monotonic() - start < 8


def test_f68_a_server_that_is_down_costs_a_warning_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "CLOSING_SECONDS", 5.0)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with Tracker() as tracker:
        for step in range(20):
            tracker.log_metrics({"x": 1.0}, step)
        assert time.monotonic() - start < 1
    assert time.monotonic() - start < 30
    assert "warning: MLflow did not take 22 of 22 messages" in capsys.readouterr().out


def test_a_job_that_goes_on_fills_its_run_up_without_doubling_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("job", (tmp_path / "artifacts").as_uri()))
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with Tracker() as tracker:
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.log_metrics({"loss": 3.0}, 3)
    with Tracker() as tracker:
        tracker.resume([(1, {"loss": 1.0}), (2, {"loss": 2.0})], "loss")
        tracker.log_metrics({"loss": 3.0}, 3)
        tracker.log_metrics({"loss": 4.0}, 4)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_the_other_ranks_say_nothing(tmp_path: Path) -> None:
    with Tracker(enabled=False) as tracker:
        tracker.log_metrics({"x": 1.0})
    assert not (tmp_path / "mlflow.db").exists()
