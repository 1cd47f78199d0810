from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from designer_vision.components.heat_maps import with_heat_maps
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.inference import heat_map
from designer_vision.inference.evaluation import Predictions
from designer_vision.report.mistakes import Photos, find_mistakes, find_right

CPU = torch.device("cpu")


@pytest.fixture
def scored(trained_model: Path, datasets: tuple[Path, Path]) -> tuple[Photos, Predictions, Model]:
    """Six images, the last two of which are predicted wrong."""
    index = read_image_directory(datasets[1])
    true = index.labels.astype(np.int64)
    predictions = Predictions(index.classes, true, np.array([*true[:4], 0, 1]), np.linspace(0.9, 0.4, 6), index.ids)
    return Photos(index, range(6)), predictions, read_model_directory(trained_model)


def test_mistakes_and_right_predictions_have_a_map_of_the_predicted_label(
    scored: tuple[Photos, Predictions, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = heat_map.heat_map
    monkeypatch.setattr(
        heat_map, "heat_map", lambda network, image, label: (asked.append(label), original(network, image, label))[1]
    )
    photos, predictions, model = scored
    found = with_heat_maps(photos, predictions, model, CPU)
    assert [*found.seen] == [4, 5, 0, 1, 2, 3]
    assert asked == predictions.predicted[[4, 5, 0, 1, 2, 3]].tolist()
    shown = find_mistakes(predictions, found) + find_right(predictions, found)
    assert all(example.has_heat_map for example in shown)
    assert [example.predicted == example.true for example in shown] == [False] * 2 + [True] * 4


def test_maps_that_cannot_be_made_are_told_and_the_photos_are_shown_without(
    scored: tuple[Photos, Predictions, Model], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(heat_map, "heat_map", fail)
    photos, predictions, model = scored
    found = with_heat_maps(photos, predictions, model, CPU)
    assert capsys.readouterr().out == "warning: heat maps could not be made: OutOfMemoryError: CUDA out of memory\n"
    assert [len(example.sources) for example in find_mistakes(predictions, found)] == [1, 1]
    assert find_right(predictions, found) == []
