from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image_directory, make_photos

from designer_vision.directories.image_directory import read_image_directory
from designer_vision.directories.model_directory import Model, read_model_directory
from designer_vision.errors import InvalidDatasetError
from designer_vision.scoring import Scorer, fit_for, score

CPU = torch.device("cpu")


@pytest.fixture
def model(trained_model: Path) -> Model:
    return read_model_directory(trained_model)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_image_gets_its_own_probabilities_whatever_the_batches(
    model: Model, precision: torch.dtype, tmp_path: Path, monkeypatch
) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    together = score(model, index, CPU, precision, workers=0)
    monkeypatch.setattr("designer_vision.scoring.BATCH_SIZE", 5)
    apart = score(model, index, CPU, precision, workers=1)
    assert together.shape == (12, 3)
    assert np.allclose(together.sum(axis=1), 1)
    assert np.allclose(together, apart, atol=1e-6)


def test_in_bfloat16_the_probabilities_are_nearly_those_of_float32(model: Model, tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    exact = score(model, index, CPU, torch.float32, workers=0)
    rounded = score(model, index, CPU, torch.bfloat16, workers=0)
    assert 0 < np.abs(exact - rounded).max() < 0.02  # 8 bits of mantissa


def test_raw_photos_go_through_the_transformation_that_the_model_recorded(model: Model, tmp_path: Path) -> None:
    photos = read_image_directory(make_photos(tmp_path / "photos", size=(90, 60)))
    fit = fit_for(model, photos.known_sizes())
    assert fit.operations == [["Resize", 32], ["CenterCrop", 32]]
    assert score(model, photos, CPU, torch.float32, workers=0).shape == (12, 3)


def test_a_classic_model_takes_images_of_one_size_as_they_are_and_others_by_the_default(model: Model) -> None:
    classic = dataclasses.replace(model, operations=None, size=None)
    assert (fit_for(classic, [(64, 80)]).operations, fit_for(classic, [(64, 80)]).size) == ([], (64, 80))
    assert fit_for(classic, [(64, 80), (80, 64)]).size == fit_for(classic).size == (224, 224)


def test_scoring_uses_the_statistics_of_the_training(model: Model) -> None:
    scorer = Scorer(model, CPU, torch.float32)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    assert np.allclose(scorer(images)[:1], scorer(images[:1]), atol=1e-6)


def test_an_unreadable_image_stops_by_name(model: Model, tmp_path: Path) -> None:
    folder = make_image_directory(tmp_path / "images")
    (folder / "image" / "0_1.png").write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match=r"0_1\.png"):
        score(model, read_image_directory(folder), CPU, torch.float32, workers=1)
