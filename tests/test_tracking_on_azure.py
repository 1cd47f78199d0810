"""A whole training against an imitation of Azure ML's tracking server, with the refusals that it is known for.

What is imitated is what Microsoft documents of limits and what its users report of refusals.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
from conftest import run_entry, training_flags

EPOCHS = 4
NAMES = {
    "Train images per second", "Train loss", "Train error", "Valid loss", "Top-1 validation accuracy", "Top-5 validation accuracy",
    "learning rate", "Train images per second and process", "Seconds waiting for images", "Seconds computing", "Seconds validating",
    "Seconds saving",
}  # fmt: skip
MOST_ROWS, MOST_NAMES = 250, 50


class Azure(ThreadingHTTPServer):
    """Takes metrics; refuses what Azure refuses, fails at every fifth request, and is slow at every seventh."""

    def __init__(self, artifacts: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
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
def azure(tmp_path: Path) -> Iterator[Azure]:
    server = Azure(tmp_path / "artifacts")
    yield server
    server.shutdown()


def test_every_metric_arrives_once_in_spite_of_what_azure_refuses(
    azure: Azure, untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    variables = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{azure.server_port}", "MLFLOW_RUN_ID": "0" * 32}
    flags = training_flags(untrained_model, *datasets, tmp_path / "out", epochs=EPOCHS, patience=EPOCHS)
    result = run_entry("train_pytorch_model", variables, **flags)
    assert result.returncode == 0, result.stderr
    assert "MLflow did not take" not in result.stdout
    assert azure.refused == []
    every_epochs = [(name, step) for name in NAMES for step in range(1, EPOCHS + 1)]
    assert sorted((name, step) for name, step, _ in azure.metrics) == sorted([("Best epoch", 0), *every_epochs])
    assert {path.name for path in azure.artifacts.iterdir()} >= {"report.html", "summary.md", "curves.png", "per_class.csv"}
    kept = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert {(name, step): value for name, step, value in azure.metrics if name in NAMES} == {
        (name, row["step"]): row[name] for row in kept for name in NAMES
    }


@pytest.mark.release
def test_azures_plugin_loads_beside_the_client_that_it_wants() -> None:
    found = version("azureml-mlflow")
    stores = {entry.name: entry for entry in entry_points(group="mlflow.tracking_store")}
    assert callable(stores["azureml"].load())
    assert (found, version("mlflow-skinny")) == ("1.62.0.post6", "3.15.0")
