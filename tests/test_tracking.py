from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest

from designer_vision.tracking import Tracker


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


def test_a_server_that_is_down_costs_a_warning_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with Tracker() as tracker:
        for step in range(20):
            tracker.log_metrics({"x": 1.0}, step)
        assert time.monotonic() - start < 1
    assert time.monotonic() - start < 60
    assert "warning: MLflow did not take 22 of 22 messages" in capsys.readouterr().out


def test_the_other_ranks_say_nothing(tmp_path: Path) -> None:
    with Tracker(enabled=False) as tracker:
        tracker.log_metrics({"x": 1.0})
    assert not (tmp_path / "mlflow.db").exists()
