"""The kept network on the validation images: its temperature, and what the report is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_image_directory, make_photos, run_entry, training_flags

from designer_vision.components import score_image_model, train_pytorch_model
from designer_vision.components.kept_network import Kept, see_validation_images
from designer_vision.data.dataset import ImageDataset
from designer_vision.data.transforms import EvaluationTransform, Normalize
from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.inference.scoring import read_trained_model, score
from designer_vision.networks.architectures import Architecture
from designer_vision.networks.builders import build
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware, Recipe
from designer_vision.training.trainer import Trainer

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
    page = (model / "report.html").read_text()
    assert "How far the probabilities can be believed" in page
    assert page.count("heat map of ") == page.count("<figure>") > 0


def test_with_the_stored_temperature_the_labels_of_the_validation_are_more_probable(trained: tuple[Path, Path, str]) -> None:
    folder, validation, _ = trained
    model, index = read_trained_model(folder), read_image_directory(validation)

    def loss(temperature: float) -> float:
        found = score(replace(model, temperature=temperature), index, CPU, torch.float32, workers=0).probabilities
        return float(-np.log(found[np.arange(len(index)), index.labels]).mean())

    assert loss(model.temperature) < loss(1.0)


def test_score_image_model_gives_the_validation_images_the_reports_probabilities(
    untrained_model: Path,
    trained: tuple[Path, Path, str],
    datasets: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Kept] = []

    def kept_and_noted(*given: Any) -> Kept:
        seen.append(see_validation_images(*given))
        return seen[0]

    monkeypatch.setattr(train_pytorch_model, "see_validation_images", kept_and_noted)
    train_pytorch_model.main(untrained_model, datasets[0], trained[1], SEVEN, tmp_path / "model")
    assert seen[0].model.temperature != 1
    score_image_model.main(tmp_path / "model", trained[1], 0, tmp_path / "scored")
    scored = read_data_frame_directory(tmp_path / "scored")
    assert scored.ids.tolist() == seen[0].images.ids.tolist()
    assert scored.probabilities.argmax(axis=1).tolist() == seen[0].predictions.predicted.tolist()
    assert np.allclose(scored.probabilities.max(axis=1), seen[0].predictions.probability, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ({"blue": 10, "green": 10, "red": 9}, "there are 29 validation images, and 30 are needed"),
        ({"red": 30}, "all validation images are of one class"),
    ],
    ids=["29 images", "one class"],
)
def test_a_validation_set_too_small_or_of_one_class_gives_no_temperature_and_that_is_said(
    untrained_model: Path,
    datasets: tuple[Path, Path],
    tmp_path: Path,
    kept: dict[str, int],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=max(kept.values()))
    for folder in photos.iterdir():
        for photo in sorted(folder.iterdir())[kept.get(folder.name, 0) :]:
            photo.unlink()
        if folder.name not in kept:
            folder.rmdir()
    train_pytorch_model.main(untrained_model, datasets[0], photos, SEVEN, tmp_path / "model")
    assert f"probabilities are left as they are, without a temperature: {reason}\n" in capsys.readouterr().out
    assert f"no temperature was fitted, because {reason}." in (tmp_path / "model" / "report.html").read_text()
    assert read_model_directory(tmp_path / "model").temperature == 1
    assert "temperature" not in (tmp_path / "model" / "_meta.yaml").read_text()


def test_of_very_many_probabilities_evenly_spaced_images_are_taken(
    tmp_path: Path, datasets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designer_vision.components.kept_network.MOST_PROBABILITIES", 9)
    index, fit = read_image_directory(datasets[1]), EvaluationTransform([], (32, 32))
    images = ImageDataset(index, fit, fit.size)
    trainer = Trainer(
        build(Architecture("resnet18"), 3, seed=1),
        (images, images),
        SEVEN,
        Ranks(),
        Hardware(CPU, torch.float32, 0),
        Recipe(Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
    )
    weights = trainer.network.state_dict()
    model = Model(Architecture("resnet18"), weights, labels=index.classes, operations=[], size=(32, 32))
    kept = see_validation_images(trainer, model, index)
    assert kept.images.ids.tolist() == index.ids[[0, 2, 5]].tolist()
    assert kept.predictions.true.tolist() == index.labels[[0, 2, 5]].tolist()
    assert len(kept.predictions.probability) == 3
    assert kept.model.temperature == 1
