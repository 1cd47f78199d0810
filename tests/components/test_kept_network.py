"""The kept network on the validation images: its temperature, and what the report is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image_directory, run_entry, training_flags

from designer_vision.architectures import Architecture
from designer_vision.components.kept_network import see_validation_images
from designer_vision.directories.image_directory import read_image_directory
from designer_vision.directories.model_directory import Model, read_model_directory
from designer_vision.loader import ImageDataset
from designer_vision.networks import build
from designer_vision.scoring import read_trained_model, score
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.trainer import Hardware, Trainer
from designer_vision.transforms import FitToNetwork

CPU = torch.device("cpu")
SEVEN = Parameters(1, 6, 0, 0.01, 1, 3, 2)


@pytest.fixture(scope="module")
def trained(untrained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A model, its 36 validation images, and what its training printed."""
    folder = tmp_path_factory.mktemp("kept")
    training = make_image_directory(folder / "training", per_class=12)
    validation = make_image_directory(folder / "validation", per_class=12, first=100)
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    result = run_entry(
        "train_pytorch_model", variables, **training_flags(untrained_model, training, validation, folder / "out", epochs=2)
    )
    assert result.returncode == 0, result.stderr
    return folder / "out", validation, result.stdout


def test_a_training_stores_a_temperature_and_says_what_it_does(trained: tuple[Path, Path, str]) -> None:
    model, _, printed = trained
    temperature = read_model_directory(model).temperature
    assert temperature != 1
    assert f"probabilities: a temperature of {temperature:.3g} takes their expected calibration error from " in printed
    assert "How far the probabilities can be believed" in (model / "report.html").read_text()


def test_with_the_stored_temperature_the_labels_of_the_validation_are_more_probable(trained: tuple[Path, Path, str]) -> None:
    folder, validation, _ = trained
    model, index = read_trained_model(folder), read_image_directory(validation)

    def loss(temperature: float) -> float:
        found = score(replace(model, temperature=temperature), index, CPU, torch.float32, workers=0).probabilities
        return float(-np.log(found[np.arange(len(index)), index.labels]).mean())

    assert loss(model.temperature) < loss(1.0)


def test_too_few_validation_images_get_no_temperature_and_that_is_said(trained_model: Path) -> None:
    assert read_model_directory(trained_model).temperature == 1  # six images
    page = (trained_model / "report.html").read_text()
    assert "no temperature was fitted, for there are 6 validation images, and 30 are needed" in page


def test_of_very_many_probabilities_evenly_spaced_images_are_taken(
    tmp_path: Path, datasets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designer_vision.components.kept_network.MOST_PROBABILITIES", 9)
    index, fit = read_image_directory(datasets[1]), FitToNetwork([], (32, 32))
    images = ImageDataset(index, fit, fit.size)
    trainer = Trainer(
        build(Architecture("resnet18"), 3, seed=1),
        images,
        images,
        SEVEN,
        Ranks(),
        Hardware(CPU, torch.float32, 0),
        *[(0.5, 0.5, 0.5)] * 2,
    )
    weights = trainer.network.state_dict()
    model = Model(Architecture("resnet18"), weights, labels=index.classes, operations=[], size=(32, 32))
    kept = see_validation_images(trainer, model, index)
    assert kept.images.ids.tolist() == index.ids[[0, 2, 5]].tolist()
    assert kept.probabilities.shape == (3, 3)
    predictions = kept.predictions
    assert predictions.predicted.tolist() == kept.probabilities.argmax(axis=1).tolist()
    assert predictions.probability.tolist() == kept.probabilities.max(axis=1).tolist()
    assert kept.model.temperature == 1
