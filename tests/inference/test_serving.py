"""The trained model as MLflow sees it, loaded in a process that has nothing but the model's own folder."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import make_photos

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import read_model_directory, write_model_files
from designer_vision.inference.scoring import score
from designer_vision.inference.serving import MOST_BYTES, ServedModel, answer
from designer_vision.runtime.errors import ModuleOutOfMemoryError
from designer_vision.runtime.precision import choose_precision

IN_ANOTHER_PROCESS = """
import base64, sys, mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import designer_vision
assert designer_vision.__file__.startswith(sys.argv[1]), designer_vision.__file__
images = [base64.b64encode(open(path, "rb").read()).decode() for path in sys.argv[2:]]
print(model.predict(pd.DataFrame({"image": images})).to_json(orient="split"))
"""


def test_the_folder_alone_is_a_model_that_scores_like_score_image_model(trained_model: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1, size=(50, 40))
    files = sorted(str(path) for path in photos.rglob("*.png"))
    command = [sys.executable, "-P", "-c", IN_ANOTHER_PROCESS, str(trained_model), *files]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    model = read_model_directory(trained_model)
    assert answer["columns"] == [*(f"Scored Probabilities_{label}" for label in model.labels), "Scored Labels", "Error"]
    expected = score(
        model, read_image_directory(photos), torch.device("cpu"), choose_precision(torch.device("cpu")), workers=0
    ).probabilities
    assert np.allclose(np.array([row[:3] for row in answer["data"]], dtype=float), expected, atol=1e-6)
    assert [row[3] for row in answer["data"]] == [model.labels[index] for index in expected.argmax(axis=1)]


def test_mlflow_gives_the_probabilities_with_the_models_temperature(trained_model: Path, tmp_path: Path) -> None:
    model = replace(read_model_directory(trained_model), temperature=3.0)
    shutil.copytree(trained_model, tmp_path / "model")
    (tmp_path / "model" / "_meta.yaml").unlink()
    write_model_files(tmp_path / "model", model)
    photos = make_photos(tmp_path / "photos", per_class=3)
    frame = pd.DataFrame({"image": [base64.b64encode(path.read_bytes()).decode() for path in sorted(photos.rglob("*.png"))]})
    warm = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame)
    unsure = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame, params={"threshold": 1.0})
    assert set(unsure["Scored Labels"]) == {"unknown"}
    plain = ServedModel(replace(model, temperature=1.0)).predict(frame)
    columns = [f"Scored Probabilities_{label}" for label in model.labels]
    powers = plain[columns].to_numpy(dtype=float) ** (1 / 3.0)
    assert np.allclose(warm[columns].to_numpy(dtype=float), powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert (warm[columns].max(axis=1) < plain[columns].max(axis=1)).all()
    assert warm["Scored Labels"].tolist() == plain["Scored Labels"].tolist()


def test_the_mlmodel_file_has_a_signature_exact_pins_and_nothing_pickled(trained_model: Path) -> None:
    mlmodel = yaml.safe_load((trained_model / "MLmodel").read_text())
    flavor = mlmodel["flavors"]["python_function"]
    assert (flavor["loader_module"], flavor["code"]) == ("designer_vision.inference.serving", "code")
    assert json.loads(mlmodel["signature"]["inputs"]) == [{"type": "string", "name": "image", "required": True}]
    pins = (trained_model / "requirements.txt").read_text().split()
    assert all("==" in pin and "+" not in pin for pin in pins)
    names = {pin.partition("==")[0] for pin in pins}
    assert {"mlflow", "torch", "torchvision", "pillow"} <= names
    assert {"azureml-ai-monitoring", "azureml-inference-server-http"} <= names  # or an endpoint without a script does not start
    assert "pyarrow" not in names  # a batch endpoint brings an older one
    assert yaml.safe_load((trained_model / "conda.yaml").read_text())["dependencies"][-1] == {"pip": pins}
    assert not [path for path in trained_model.rglob("*") if path.suffix in (".pkl", ".pickle", ".pyc")]


BAD_TEXTS: list[tuple[object, str]] = [
    ("§§§", "row 1, column image: not base64 text"),
    (base64.b64encode(b"GIF89a").decode(), "row 1, column image is not an image"),
    (3, "row 1, column image: a int, expected the bytes of an image file as base64 text"),
    (None, "row 1, column image: nothing, expected the bytes"),
]


@pytest.fixture(scope="module")
def served(trained_model: Path) -> ServedModel:
    return ServedModel(read_model_directory(trained_model))


@pytest.fixture
def good(tmp_path: Path) -> str:
    return base64.b64encode(next(make_photos(tmp_path / "photos").rglob("*.png")).read_bytes()).decode()


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS)
def test_a_row_that_cannot_be_read_says_why_and_the_others_are_scored(
    served: ServedModel, good: str, text: object, message: str
) -> None:
    frame = served.predict(pd.DataFrame({"image": pd.Series([good, text, good], dtype=object)}))
    alone = served.predict(pd.DataFrame({"image": [good]}))
    first, bad, last = json.loads(json.dumps(frame.to_dict("records"), allow_nan=False))
    assert first == last
    assert first == pytest.approx(alone.to_dict("records")[0], abs=1e-5)
    assert first["Error"] is None
    assert message in bad.pop("Error")
    assert set(bad.values()) == {None}
    assert list(frame.columns) == list(alone.columns)


def test_rows_are_numbered_through_all_batches(served: ServedModel, good: str) -> None:
    texts = [good] * 40
    texts[35] = "?"
    frame = served.predict(pd.DataFrame({"image": texts}))
    assert [row for row, reason in enumerate(frame["Error"]) if reason is not None] == [35]
    assert frame["Error"][35].startswith("row 35, column image: not base64")
    assert len(frame) == 40


def test_a_network_that_gives_no_numbers_is_a_reason_and_no_broken_json(
    served: ServedModel, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_scorer", lambda images: np.array([[np.nan, 0.5, 0.5]] * len(images)))
    status, rows = answer(served, json.dumps({"input_data": [good]}).encode())
    assert status == 200
    assert "the network gives no numbers for row 0" in rows[0]["Error"]
    json.dumps(rows, allow_nan=False)


def test_every_way_to_send_photos_has_the_same_answer(served: ServedModel, good: str) -> None:
    requests = [
        {"input_data": {"columns": ["image"], "index": [0, 1], "data": [[good], ["?"]]}},
        {"input_data": {"columns": ["name", "image"], "data": [["a", good], ["b", "?"]]}},
        {"input_data": [good, "?"]},
        {"input_data": [{"image": good}, {"image": "?"}]},
        {"dataframe_split": {"columns": ["image"], "data": [[good], ["?"]]}},
        {"dataframe_records": [{"image": good}, {"image": "?"}]},
    ]
    answers = [answer(served, json.dumps(request).encode()) for request in requests]
    assert answers[0][0] == 200
    assert len(answers[0][1]) == 2
    assert all(found == answers[0] for found in answers)
    assert answer(served, b'{"input_data": []}') == (200, [])


@pytest.mark.parametrize("place", ["beside the rows", "among them"])
def test_a_request_can_say_from_which_probability_on_a_label_is_given(served: ServedModel, good: str, place: str) -> None:
    rows: dict = {"columns": ["image"], "data": [[good]]}
    params = {"params": {"threshold": 1.0}}
    request = {"input_data": rows | params} if place == "among them" else {"input_data": rows} | params
    status, (found,) = answer(served, json.dumps(request).encode())
    assert status == 200
    assert found["Scored Labels"] == "unknown"
    assert found == answer(served, json.dumps({"input_data": rows}).encode())[1][0] | {"Scored Labels": "unknown"}


WRONG = {
    "empty": (b"", "the request: "),
    "no JSON": (b"hello", "the request: "),
    "no object": (b"[1]", "Expected `object`, got `array`"),
    "another key": (b'{"pictures": []}', "the request has pictures, expected JSON like"),
    "nothing": (b"{}", "the request has nothing, expected JSON like"),
    "another column": (b'{"input_data": {"columns": ["photo"], "data": [["x"]]}}', "input_data without a column image"),
    "no columns": (b'{"dataframe_split": {"data": [["x"]]}}', "dataframe_split without a column image"),
    "a threshold that is a text": (b'{"input_data": [], "params": {"threshold": "x"}}', 'expected {"threshold": 0.5}'),
    "a parameter misspelt": (b'{"input_data": [], "params": {"treshold": 0.5}}', "the request has params {'treshold': 0.5}"),
    "params that are a list": (b'{"input_data": [], "params": [1]}', "the request has params [1]"),
    "a threshold above 1": (b'{"input_data": [], "params": {"threshold": 2}}', "threshold is 2.0, it must be between 0 and 1"),
    "a key twice": (b'{"input_data": [], "input_data": []}', "the key 'input_data' appears twice"),
    "no text": (b"\xff\xfe{}", "UTF-16"),
    "too large": (b" " * (MOST_BYTES + 1), "67,108,865 bytes, expected 67,108,864 at most"),
    "deep": (b'{"input_data": ' + b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_a_request_that_is_none_is_answered_by_400_and_a_sentence(served: ServedModel, body: bytes, message: str) -> None:
    status, content = answer(served, body)
    assert status == 400
    assert message in content["message"]
    assert re.search(
        r'\{"input_data": \{"columns": \["image"\]|send fewer|save it again|between 0 and 1|"threshold": 0.5', content["message"]
    )


def test_rows_of_another_length_and_without_the_column_are_told_by_row(served: ServedModel, good: str) -> None:
    request = {"dataframe_split": {"columns": ["image"], "data": [[good], [], [good, 1], "x", {"image": good}]}}
    status, rows = answer(served, json.dumps(request).encode())
    assert status == 200
    assert [row["Error"] is None for row in rows] == [True, False, False, False, False]


def test_a_data_url_and_broken_lines_are_taken_too(trained_model: Path, tmp_path: Path) -> None:
    content = base64.b64encode(next(make_photos(tmp_path / "photos").rglob("*.png")).read_bytes()).decode()
    served = ServedModel(read_model_directory(trained_model))
    broken = "\n".join(content[start : start + 76] for start in range(0, len(content), 76))
    texts = (content, f"data:image/png;base64,{content}", broken)
    plain, url, lines = (served.predict(pd.DataFrame({"image": [text]})) for text in texts)
    pd.testing.assert_frame_equal(plain, url)
    pd.testing.assert_frame_equal(plain, lines)


def test_an_image_that_does_not_fit_into_memory_has_that_in_its_row(
    served: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(images: torch.Tensor) -> None:
        raise ModuleOutOfMemoryError("one image does not fit")

    photo = next(make_photos(tmp_path / "photos", per_class=1).rglob("*.png"))
    monkeypatch.setattr(served._scorer, "_in_memory", refuse)
    rows = served.score([base64.b64encode(photo.read_bytes()).decode(), "§"])
    assert rows["Error"][0] == "one image does not fit"
    assert rows["Error"][1].startswith("row 1, column image: not base64")
    assert rows["Scored Labels"].tolist() == [None, None]
