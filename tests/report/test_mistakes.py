from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image_directory
from PIL import Image

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.evaluation import Predictions
from designer_vision.report.mistakes import MOST_SHOWN, find_mistakes
from designer_vision.report.photos import SIDE


def predictions(index: ImageIndex, wrong: dict[int, float]) -> Predictions:
    """All right but some rows, which are wrong with that probability."""
    true = index.labels.astype(np.int64)
    predicted = np.array([(label + (row in wrong)) % 3 for row, label in enumerate(true)])
    probability = np.array([wrong.get(row, 1.0) for row in range(len(true))])
    return Predictions(index.classes, true, predicted, probability, index.ids)


def test_each_mistake_has_its_own_photo_name_and_labels(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a"), original_names=True)
    first, second = find_mistakes(predictions(index, {1: 0.6, 9: 0.9}), index, range(12))
    assert (first.name, first.true, first.predicted, first.probability) == ("red/1.png", "red", "blue", 0.9)
    assert (second.name, second.true, second.predicted) == ("blue/1.png", "blue", "green")
    kind, _, content = first.source.partition(",")
    assert kind == "data:image/png;base64"  # small ones keep their pixels
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert (shown == np.asarray(Image.open(index.path(9)))).all()


def test_only_the_images_that_are_shown_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a", per_class=20))
    read: list[int] = []
    original = ImageIndex.read
    monkeypatch.setattr(ImageIndex, "read", lambda self, row: (read.append(row), original(self, row))[1])
    wrong = {row: 0.5 + row / 1000 for row in range(40)}
    assert len(find_mistakes(predictions(index, wrong), index, range(60))) == MOST_SHOWN
    assert read == list(range(39, 39 - MOST_SHOWN, -1))


def test_a_photo_that_cannot_be_read_leaves_its_place_empty(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a"))
    index.path(2).unlink()
    (found,) = find_mistakes(predictions(index, {2: 0.7}), index, range(12))
    assert found.photo is None
    assert found.source == ""


def test_large_photos_are_shown_small(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a", per_class=1, size=(600, 900)))
    (found,) = find_mistakes(predictions(index, {0: 0.7}), index, range(3))
    assert found.photo is not None
    assert found.photo.shape == (149, SIDE, 3)
    assert found.source.startswith("data:image/jpeg;base64,")
