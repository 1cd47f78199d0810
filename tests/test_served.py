"""The trained model behind a real web server: `mlflow models serve`, from this environment."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import colored_pixels, run_entry
from PIL import Image

from designer_vision.directories.data_frame_directory import read_data_frame_directory
from designer_vision.pipeline.processes import free_port

STARTS_WITHIN = 120


class Served:
    """A server and its address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def post(self, payload: Any, kind: str = "application/json") -> tuple[int, str]:
        """The status and the text of the answer."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        request = urllib.request.Request(f"{self.address}/invocations", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def python_of(model: Path) -> Path:
    """This environment's Python, or that of a fresh one at SERVED_FROM, made of nothing but the model's own requirements."""
    folder = os.environ.get("SERVED_FROM")
    if not folder:
        return Path(sys.executable)
    python = Path(folder) / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", model / "requirements.txt"], check=True)
    return python


@pytest.fixture(scope="module")
def served(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    python = python_of(trained_model)
    words = ["-m", "mlflow", "models", "serve", "--model-uri", str(trained_model), "--env-manager", "local", "--port", str(port)]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)  # the model brings its own code
    environment |= {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(python), *words], stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.3)
        yield Served(address)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def photo(label: str, number: int, height: int, width: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colored_pixels(label, number, height, width)).save(buffer, kind)
    return buffer.getvalue()


def test_jpeg_and_png_of_any_size_are_answered_as_score_image_model_scores_them(
    served: Served, trained_model: Path, tmp_path: Path
) -> None:
    sizes = [(32, 32, "PNG"), (50, 40, "JPEG"), (33, 200, "PNG"), (400, 300, "JPEG")]
    contents = [
        photo(label, number, *size)
        for number, (size, label) in enumerate(zip(sizes, ("red", "blue", "green", "red"), strict=True))
    ]
    (tmp_path / "photos").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / f"photos/{number}.png").write_bytes(content)  # the name plays no part
    result = run_entry(
        "score_image_model", trained_model=trained_model, dataset=tmp_path / "photos", scored_dataset=tmp_path / "scored"
    )
    assert result.returncode == 0, result.stderr
    scored = read_data_frame_directory(tmp_path / "scored")
    texts = [base64.b64encode(content).decode() for content in contents]
    for payload in (
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": text} for text in texts]},
    ):
        status, text = served.post(payload)
        assert status == 200, text
        rows = json.loads(text)["predictions"]
        assert [row["Scored Labels"] for row in rows] == scored.scored_labels
        found = np.array([[row[f"Scored Probabilities_{label}"] for label in scored.labels] for row in rows])
        assert np.abs(found - scored.probabilities).max() < 1e-4


WRONG: dict[str, tuple[Any, str]] = {
    "no base64": ({"dataframe_records": [{"image": "???"}]}, "row 0, column image: not base64 text"),
    "no image": ({"dataframe_records": [{"image": base64.b64encode(b"hello").decode()}]}, "row 0, column image is not an image"),
    "another column": ({"dataframe_records": [{"photo": "x"}]}, "image"),
    "a number": ({"dataframe_records": [{"image": 3}]}, "row 0, column image: a int, expected the bytes of an image file"),
    "another key": ({"pictures": []}, "dataframe_split"),
    "no JSON": (b"hello", "JSON"),
}


@pytest.mark.parametrize(("payload", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_payload_is_answered_by_4xx_with_a_sentence(served: Served, payload: Any, message: str) -> None:
    status, text = served.post(payload)
    assert 400 <= status < 500, (status, text)
    assert message in text
