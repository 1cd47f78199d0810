from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import make_photos, run_entry
from PIL import Image

from designer_vision.components import export_onnx, score_image_model
from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.inference.scoring import Scorer
from designer_vision.runtime.errors import FailedToWriteOutputsError, InvalidModelDirectoryError


@pytest.fixture(scope="module")
def exported(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "out"
    result = run_entry("export_onnx", trained_model=trained_model, onnx_model=folder)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"probabilities are those of Score Image Model within \S+, on \d+ images", lines[-2])
    assert re.fullmatch(rf"resnet18 with 3 classes is in {folder}/model\.onnx, 4\d\.\d MB", lines[-1])
    return folder


def test_one_file_gives_photos_of_any_size_the_probabilities_and_labels_of_score_image_model(
    exported: Path, trained_model: Path, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=2, size=(70, 50))
    score_image_model.main(trained_model, photos, 0, tmp_path / "scored")
    scored = read_data_frame_directory(tmp_path / "scored")
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    pixels = np.stack([np.array(Image.open(photos / name)) for name in scored.names or []])
    probabilities, labels = session.run(["probabilities", "label"], {"image": pixels})
    assert np.abs(probabilities - scored.probabilities).max() < 1e-3
    assert labels.tolist() == scored.scored_labels


def test_the_file_says_what_it_is(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(facts["labels"]) == ["blue", "green", "red"]
    assert facts["network"] == "resnet18"
    assert [opset.version for opset in model.opset_import if not opset.domain] == [20]
    assert "opset 20" in (exported / "README.md").read_text()


def test_the_lines_of_its_readme_label_a_photo(exported: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1)
    (code,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    words = [sys.executable, "-c", code, *map(str, sorted(photos.rglob("*.png")))]
    result = subprocess.run(words, cwd=exported, capture_output=True, text=True, check=True)
    labels = [line.removeprefix(str(photos)).split()[-2] for line in result.stdout.splitlines()]
    assert set(labels) <= {"blue", "green", "red"}
    assert len(labels) == 3


def test_what_does_not_agree_with_the_scorer_is_an_error_and_no_file(
    trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Scorer.__call__
    monkeypatch.setattr(Scorer, "__call__", lambda self, images: 0.9 * score(self, images))
    with pytest.raises(FailedToWriteOutputsError, match="give an image of .* pixels other probabilities: they are .* apart"):
        export_onnx.main(trained_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_untrained_model_is_refused(untrained_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="is an untrained model"):
        export_onnx.main(untrained_model, tmp_path / "out")
