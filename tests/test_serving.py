"""The trained model as MLflow sees it, loaded in a process that has nothing but the model's own folder."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import make_photos

from designer_vision.directories.image_directory import read_image_directory
from designer_vision.directories.model_directory import read_model_directory
from designer_vision.precision import choose_precision
from designer_vision.scoring import score
from designer_vision.serving import ServedModel

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
    assert answer["columns"] == [*(f"Scored Probabilities_{label}" for label in model.labels), "Scored Labels"]
    expected = score(
        model, read_image_directory(photos), torch.device("cpu"), choose_precision(torch.device("cpu")), workers=0
    ).probabilities
    assert np.allclose(np.array([row[:3] for row in answer["data"]], dtype=float), expected, atol=1e-6)
    assert [row[3] for row in answer["data"]] == [model.labels[index] for index in expected.argmax(axis=1)]


def test_the_mlmodel_file_has_a_signature_exact_pins_and_nothing_pickled(trained_model: Path) -> None:
    mlmodel = yaml.safe_load((trained_model / "MLmodel").read_text())
    flavor = mlmodel["flavors"]["python_function"]
    assert (flavor["loader_module"], flavor["code"]) == ("designer_vision.serving", "code")
    assert json.loads(mlmodel["signature"]["inputs"]) == [{"type": "string", "name": "image", "required": True}]
    pins = (trained_model / "requirements.txt").read_text().split()
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert {"mlflow", "torch", "torchvision", "pillow"} <= {pin.partition("==")[0] for pin in pins}
    assert not [path for path in trained_model.rglob("*") if path.suffix in (".pkl", ".pickle", ".pyc")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("§§§", "row 1, column image: not base64 text"),
        (base64.b64encode(b"GIF89a").decode(), "row 1, column image is not an image"),
    ],
)
def test_a_wrong_payload_is_answered_with_its_row(trained_model: Path, tmp_path: Path, text: str, message: str) -> None:
    good = next(make_photos(tmp_path / "photos").rglob("*.png")).read_bytes()
    served = ServedModel(read_model_directory(trained_model))
    frame = pd.DataFrame({"image": [base64.b64encode(good).decode(), text]})
    with pytest.raises(ValueError, match=message):
        served.predict(frame)


def test_a_data_url_and_broken_lines_are_taken_too(trained_model: Path, tmp_path: Path) -> None:
    content = base64.b64encode(next(make_photos(tmp_path / "photos").rglob("*.png")).read_bytes()).decode()
    served = ServedModel(read_model_directory(trained_model))
    broken = "\n".join(content[start : start + 76] for start in range(0, len(content), 76))
    texts = (content, f"data:image/png;base64,{content}", broken)
    plain, url, lines = (served.predict(pd.DataFrame({"image": [text]})) for text in texts)
    pd.testing.assert_frame_equal(plain, url)
    pd.testing.assert_frame_equal(plain, lines)
