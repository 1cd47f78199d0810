"""A whole training against an imitation of Azure ML's tracking server, with the refusals that it is known for.

What is imitated is what Microsoft documents of limits and what its users report of refusals.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import ROOT, run_entry, training_flags

EPOCHS = 4
NAMES = {
    "Train images per second", "Train loss", "Train error", "Valid loss", "Top-1 validation accuracy", "Top-5 validation accuracy",
    "learning rate", "Train images per second and process", "Seconds waiting for images", "Seconds computing", "Seconds validating",
    "Seconds saving",
}  # fmt: skip
MOST_ROWS, MOST_NAMES = 250, 50


class Azure(ThreadingHTTPServer):
    """Takes metrics; refuses what Azure refuses, fails at every fifth request, and is slow at every seventh."""

    def __init__(self, artifacts: Path, history: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.history = history
        """Status code of the answers on what is logged; 0 for none at all."""
        self.never = threading.Event()
        self.asked_for_history = 0
        self.artifacts = artifacts
        self.metrics: list[tuple[str, int, float]] = []
        self.params: dict[str, str] = {"epochs": "99"}  # Azure logs a job's inputs itself
        self.requests = 0
        self.refused: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, path: str, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.requests += 1
        if self.requests % 5 == 0:
            return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "try again"}
        if "get-history" in path:
            return self.answer_history(path)
        if self.requests % 7 == 0:
            time.sleep(0.3)
        if "logged-models" in path:
            self.refused.append(path)
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "not here"}
        for param in content.get("params", [content] if path.endswith("log-parameter") else []):
            if self.params.setdefault(param["key"], param["value"]) != param["value"]:
                self.refused.append(f"param {param['key']}")
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "a param cannot change"}
        rows = content.get("metrics", [content] if path.endswith("log-metric") else [])
        names = {name for name, _, _ in self.metrics} | {row["key"] for row in rows}
        if len(rows) > MOST_ROWS or len(names) > MOST_NAMES:
            self.refused.append(f"{len(rows)} rows, {len(names)} names")
            return 400, {"error_code": "BAD_REQUEST", "message": "too many"}
        self.metrics += [(row["key"], int(row["step"]), float(row["value"])) for row in rows]
        uri = self.artifacts.as_uri()
        run = {
            "info": {"run_id": "0" * 32, "run_uuid": "0" * 32, "status": "RUNNING", "experiment_id": "0", "artifact_uri": uri},
            "data": {},
        }
        return 200, {"run": run, "metrics": []}

    def answer_history(self, path: str) -> tuple[int, dict[str, Any]]:
        self.asked_for_history += 1
        if self.history == 0:
            self.never.wait(60)
        if self.history != 200:
            return self.history or 503, {"error_code": "BAD_REQUEST", "message": "no history here"}
        (wanted,) = parse_qs(urlsplit(path).query)["metric_key"]
        found = [
            {"key": name, "step": step, "value": value, "timestamp": 1} for name, step, value in self.metrics if name == wanted
        ]
        return 200, {"metrics": found}


class Answers(BaseHTTPRequestHandler):
    server: Azure

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        status, answer = self.server.answer(self.path, content)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_POST  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def azure(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Azure]:
    server = Azure(tmp_path / "artifacts", getattr(request, "param", 200))
    yield server
    server.never.set()
    server.shutdown()


def run_of(azure: Azure) -> dict[str, str]:
    """The variables by which a job names its run."""
    return {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{azure.server_port}", "MLFLOW_RUN_ID": "0" * 32}


def train(azure: Azure, model: Path, datasets: tuple[Path, Path], output: Path) -> str:
    """Train under a job's run, and return what is printed."""
    flags = training_flags(model, *datasets, output, epochs=EPOCHS, patience=EPOCHS)
    result = run_entry("train_pytorch_model", run_of(azure), **flags)
    assert result.returncode == 0, result.stderr
    return result.stdout


OF_ALL = [(name, 0) for name in ("Balanced accuracy", "Best epoch", "Calibration error")]


def every_epochs(names: set[str]) -> list[tuple[str, int]]:
    return [(name, step) for name in names for step in range(1, EPOCHS + 1)]


def test_every_metric_arrives_once_in_spite_of_what_azure_refuses(
    azure: Azure, untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    assert "MLflow did not take" not in train(azure, untrained_model, datasets, tmp_path / "out")
    assert azure.refused == []
    assert sorted((name, step) for name, step, _ in azure.metrics) == sorted([*OF_ALL, *every_epochs(NAMES)])
    assert {path.name for path in azure.artifacts.iterdir()} >= {"report.html", "summary.md", "curves.png", "per_class.csv"}
    kept = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert {(name, step): value for name, step, value in azure.metrics if name in NAMES} == {
        (name, row["step"]): row[name] for row in kept for name in NAMES
    }


@pytest.mark.parametrize("azure", [403, 500, 0], indirect=True, ids=["refused", "fails", "hangs"])
def test_every_epoch_arrives_where_the_server_does_not_tell_what_is_logged(
    azure: Azure, untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    printed = train(azure, untrained_model, datasets, tmp_path / "out")
    assert azure.asked_for_history > 0
    assert sorted((name, step) for name, step, _ in azure.metrics) == sorted([*OF_ALL, *every_epochs(NAMES)])
    assert "MLflow" not in printed
    assert "history" not in printed


def stop_after_an_epoch(azure: Azure, flags: dict[str, object]) -> None:
    """Begin a training, and stop it as Azure does once an epoch is logged."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "designer_vision.entry.train_pytorch_model", *words]
    process = subprocess.Popen(
        command, env=os.environ | run_of(azure) | {"PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not any(step for _, step, _ in azure.metrics) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) != 0, "it was at its end already"


@pytest.mark.parametrize("azure", [200, 403], indirect=True, ids=["tells", "refuses"])
def test_a_resumed_training_has_every_epoch_and_once_where_the_server_tells_what_it_has(
    azure: Azure, untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    flags = training_flags(untrained_model, *datasets, tmp_path / "out", epochs=EPOCHS, patience=EPOCHS)
    stop_after_an_epoch(azure, flags)
    before = {step for _, step, _ in azure.metrics}
    assert before
    result = run_entry("train_pytorch_model", run_of(azure), **flags)
    assert "resuming after" in result.stdout
    assert "MLflow" not in result.stdout
    steps = sorted(step for name, step, _ in azure.metrics if name == "Valid loss")
    assert set(steps) == set(range(1, EPOCHS + 1))
    assert (len(steps) == EPOCHS) == (azure.history == 200)


@pytest.mark.release
def test_azures_plugin_loads_beside_the_client_that_it_wants() -> None:
    found = version("azureml-mlflow")
    stores = {entry.name: entry for entry in entry_points(group="mlflow.tracking_store")}
    assert callable(stores["azureml"].load())
    assert (found, version("mlflow-skinny")) == ("1.62.0.post6", "3.15.0")
