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
from designer_vision.inference.heat_map import Seen
from designer_vision.report.mistakes import MOST_SHOWN, Photos, find_mistakes, find_right, with_heat
from designer_vision.report.photos import SIDE


def predictions(index: ImageIndex, wrong: dict[int, float]) -> Predictions:
    """All right but some rows, which are wrong with that probability."""
    true = index.labels.astype(np.int64)
    predicted = np.array([(label + (row in wrong)) % 3 for row, label in enumerate(true)])
    probability = np.array([wrong.get(row, 1.0) for row in range(len(true))])
    return Predictions(index.classes, true, predicted, probability, index.ids)


def test_each_mistake_has_its_own_photo_name_and_labels(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a"), original_names=True)
    first, second = find_mistakes(predictions(index, {1: 0.6, 9: 0.9}), Photos(index, range(12)))
    assert (first.name, first.true, first.predicted, first.probability) == ("red/1.png", "red", "blue", 0.9)
    assert (second.name, second.true, second.predicted) == ("blue/1.png", "blue", "green")
    kind, _, content = first.sources[0].partition(",")
    assert kind == "data:image/png;base64"  # small ones keep their pixels
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert (shown == np.asarray(Image.open(index.path(9)))).all()


def test_only_the_images_that_are_shown_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a", per_class=20))
    read: list[int] = []
    original = ImageIndex.read
    monkeypatch.setattr(ImageIndex, "read", lambda self, row: (read.append(row), original(self, row))[1])
    wrong = {row: 0.5 + row / 1000 for row in range(40)}
    assert len(find_mistakes(predictions(index, wrong), Photos(index, range(60)))) == MOST_SHOWN
    assert read == list(range(39, 39 - MOST_SHOWN, -1))


def test_a_photo_that_cannot_be_read_leaves_its_place_empty(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a"))
    index.path(2).unlink()
    (found,) = find_mistakes(predictions(index, {2: 0.7}), Photos(index, range(12)))
    assert found.photo is None
    assert found.sources == []


def test_large_photos_are_shown_small(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a", per_class=1, size=(600, 900)))
    (found,) = find_mistakes(predictions(index, {0: 0.7}), Photos(index, range(3)))
    assert found.photo is not None
    assert found.photo.shape == (149, SIDE, 3)
    assert found.sources[0].startswith("data:image/jpeg;base64,")


def seen(height: int, width: int) -> Seen:
    """A red image whose right half is hot."""
    pixels = np.full((height, width, 3), (90, 0, 0), np.uint8)
    return Seen(pixels, np.broadcast_to(np.float32(np.arange(width) >= width / 2), (height, width)), "blue")


def test_what_the_network_saw_is_shown_in_place_of_the_photo_with_its_heat_map_beside(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "a", per_class=1, size=(600, 900)))
    some = predictions(index, {0: 0.7})
    photos = Photos(index, range(3), {0: seen(448, 448), 2: seen(32, 20)})
    (mistake,), (right,) = find_mistakes(some, photos), find_right(some, photos)
    assert mistake.photo is not None
    assert mistake.heat is not None
    assert mistake.photo.shape == mistake.heat.shape == (SIDE, SIDE, 3)
    assert (mistake.photo[0, 0] == (90, 0, 0)).all()
    assert len(mistake.sources) == 2
    assert (right.name, right.true, right.predicted) == (index.name(2), "red", "red")  # row 1 is right, too, but has no map
    assert right.heat is not None
    assert right.heat.shape == (32, 20, 3)
    assert right.is_small


def test_a_heat_map_is_bright_where_it_is_hot_and_has_nothing_of_the_image_s_colours() -> None:
    covered = with_heat(seen(4, 4)).astype(int)
    assert covered.shape == (4, 4, 3)
    assert covered[:, 2:].mean() > covered[:, :2].mean() + 60
    assert (np.ptp(covered[:, :2], axis=2) < 5).all()
