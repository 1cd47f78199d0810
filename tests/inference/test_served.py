"""The trained model behind the web servers that people put it behind.

`mlflow models serve` runs in this environment. Azure ML's inference server (azmlinfsrv) has packages that do not go together with its
client's: `make test-release` runs it in an environment of nothing but the model's own requirements (SERVED_FROM), with what Azure runs
for a deployment without a scoring script and with our score.py, and our score.py with the packages of the CPU image (SERVED_FROM_IMAGE).
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, colored_pixels, run_entry
from PIL import Image

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.pipeline.processes import free_port

STARTS_WITHIN = 120
COLOURS = {"red", "green", "blue"}


@dataclass(frozen=True)
class Door:
    """A way to serve a model.

    Attributes:
        script: what azmlinfsrv runs; None for `mlflow models serve`.
        variable: names the folder of its environment.
        tells: whether a request that is wrong as a whole is answered by 4xx and a sentence.
    """

    script: Path | None
    variable: str = "SERVED_FROM"
    tells: bool = True

    def words(self, model: Path, port: int) -> list[str]:
        """The command behind the environment's Python."""
        if self.script is None:
            return ["-m", "mlflow", "models", "serve", "--model-uri", str(model), "--env-manager", "local", "--port", str(port)]
        return ["-m", "azureml_inference_server_http", "--entry_script", str(self.script), "--port", str(port)]

    def payload(self, texts: Sequence[object]) -> dict[str, Any]:
        """A request, as this server's documentation has it."""
        rows = {"columns": ["image"], "data": [[text] for text in texts]}
        return {"dataframe_split": rows} if self.script is None else {"input_data": rows | {"index": [*range(len(texts))]}}


NO_CODE, SCORE = ROOT / "tests/no_code_script.py", ROOT / "pipelines/deploy/score.py"
DOORS = [
    pytest.param(Door(None), id="mlflow"),
    pytest.param(Door(NO_CODE, tells=False), id="no code", marks=pytest.mark.release),
    pytest.param(Door(SCORE), id="score.py", marks=pytest.mark.release),
    pytest.param(Door(SCORE, "SERVED_FROM_IMAGE"), id="score.py in the image", marks=pytest.mark.release),
]


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    door: Door
    port: int
    group: int

    def post(self, body: bytes, kind: str = "application/json") -> tuple[int, str]:
        """The status and the text of the answer."""
        path = "invocations" if self.door.script is None else "score"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def rows(self, texts: Sequence[object]) -> list[dict[str, Any]]:
        """The answer to some photos."""
        status, text = self.post(json.dumps(self.door.payload(texts)).encode())
        assert status == 200, text
        answer = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        return answer["predictions"] if self.door.script is None else answer

    def workers(self) -> set[int]:
        """The processes of the server."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) == self.group:
                    found.add(int(folder.name))
            except ProcessLookupError:
                continue
        return found


def python_of(door: Door, model: Path) -> Path:
    """This environment's Python, or that of the door's own: made fresh, of nothing but the model's requirements."""
    folder = os.environ.get(door.variable)
    if not folder:
        return Path(sys.executable)
    python = Path(folder) / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", model / "requirements.txt"], check=True)
    return python


@contextmanager
def serving(door: Door, model: Path, folder: Path) -> Iterator[Served]:
    port, python = free_port(), python_of(door, model)
    registered = shutil.copytree(model, folder / "my_model/1/trained_model")  # as Azure ML lays a model into a container
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)  # the model brings its own code
    environment |= {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    environment |= {"AZUREML_MODEL_DIR": str(registered.parent), "MLFLOW_MODEL_FOLDER": registered.name}
    command = [str(python), *door.words(registered, port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{'ping' if door.script is None else ''}", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.3)
        yield Served(door, port, server.pid)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module", params=DOORS)
def served(request: pytest.FixtureRequest, trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(request.param, trained_model, tmp_path_factory.mktemp("served")) as server:
        yield server


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
        "score_image_model",
        trained_model=trained_model,
        dataset=tmp_path / "photos",
        threshold=0,
        scored_dataset=tmp_path / "scored",
    )
    assert result.returncode == 0, result.stderr
    scored = read_data_frame_directory(tmp_path / "scored")
    rows = served.rows([base64.b64encode(content).decode() for content in contents])
    assert [row["Scored Labels"] for row in rows] == scored.scored_labels
    found = np.array([[row[f"Scored Probabilities_{label}"] for label in scored.labels] for row in rows])
    assert np.abs(found - scored.probabilities).max() < 1e-4
    assert {row["Error"] for row in rows} == {None}


BAD_ROWS: dict[str, tuple[object, str]] = {
    "no base64": ("???", "row 1, column image: not base64 text"),
    "no image": (base64.b64encode(b"hello").decode(), "row 1, column image is not an image"),
    "a number": (3, "row 1, column image: "),
    "nothing": (None, "row 1, column image: nothing, expected"),
    "empty": ("", "row 1, column image is "),
}


@pytest.mark.parametrize(("text", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_answered_with_its_reason_and_the_others_with_their_labels(
    served: Served, text: object, message: str
) -> None:
    good = base64.b64encode(photo("red", 0, 32, 32, "PNG")).decode()
    first, bad, last = served.rows([good, text, good])
    assert first == last
    assert first["Scored Labels"] in COLOURS
    assert message in bad.pop("Error")
    assert set(bad.values()) == {None}


def test_a_body_of_20_megabytes_is_answered(served: Served) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2240, 2240, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    text = base64.b64encode(buffer.getvalue()).decode()
    assert len(text) > 20_000_000
    (row,) = served.rows([text])
    assert row["Error"] is None
    assert row["Scored Labels"] in COLOURS


WRONG: dict[str, tuple[Any, str]] = {
    "another column": ({"dataframe_split": {"columns": ["photo"], "data": [["x"]]}}, "image"),
    "another column, for Azure": ({"input_data": {"columns": ["photo"], "index": [0], "data": [["x"]]}}, "image|dataframe_split"),
    "another key": ({"pictures": []}, "dataframe_split|input_data"),
    "an empty object": ({}, "dataframe_split|input_data"),
    "no object": ([], "dataframe_split|object|dictionary"),
    "no JSON": (b"hello", "JSON|json"),
    "no text": (b"\xff\xfe\x00", "JSON|json|UTF"),
    "empty": (b"", "JSON|json|empty"),
}


@pytest.mark.parametrize(("payload", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_answered_and_kills_nothing(served: Served, payload: Any, message: str) -> None:
    before = served.workers()
    status, text = served.post(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    if served.door.tells:
        assert 400 <= status < 500, (status, text)
        assert re.search(message, text), text
    else:
        assert 400 <= status <= 500, (status, text)
        assert "message" in json.loads(text)
    assert served.rows([base64.b64encode(photo("red", 0, 32, 32, "PNG")).decode()])[0]["Scored Labels"] in COLOURS
    assert served.workers() == before
