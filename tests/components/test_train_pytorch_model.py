from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from conftest import make_image_directory, make_photos, run_entry, training_flags

from designer_vision.components import train_pytorch_model
from designer_vision.components.train_pytorch_model import main, worker_lost
from designer_vision.components.training_output import TrainingOutput
from designer_vision.components.training_task import initial_network, read_task, with_same_classes
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.report import files
from designer_vision.runtime.errors import (
    FailedToWriteOutputsError,
    InvalidDatasetError,
    InvalidModelDirectoryError,
    NotLabeledDatasetError,
    TrainingDivergedError,
)
from designer_vision.training.parameters import Parameters

SEVEN = Parameters(1, 6, 0, 0.01, 1, 3, 2)


def test_a_trained_model_has_the_training_directorys_labels_and_schema(trained_model: Path, datasets: tuple[Path, Path]) -> None:
    model = read_model_directory(trained_model)
    assert model.labels == ("blue", "green", "red")
    assert (model.operations, model.size) == ([["Resize", 32], ["CenterCrop", 32]], (32, 32))
    assert model.weights["fc.weight"].shape == (3, 512)
    assert model.training["epochs"] == 2
    assert model.training["Top-1 validation accuracy"] <= 1
    for name in ("_schema.json", "_samples.json"):
        assert (trained_model / name).read_bytes() == (datasets[0] / name).read_bytes()
    assert not (trained_model / "checkpoint").exists()


def test_metrics_and_log_lines_name_every_epoch(untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    result = run_entry("train_pytorch_model", **training_flags(untrained_model, *datasets, tmp_path / "out", epochs=2))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for number in (1, 2):
        assert f"epoch {number}/2 iteration 6/6 | " in result.stdout
        assert f"epoch {number}/2 | " in result.stdout
    for field in (" images/s | loss ", " | error ", " | learning rate ", " left", " | top-1 "):
        assert field in result.stdout
    assert "kept in memory once decoded: 36 of 36 images to train, 0 MB\n" in result.stdout
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert set(run.data.metrics) == {
        "Train images per second", "Train loss", "Train error", "Valid loss",
        "Top-1 validation accuracy", "Top-5 validation accuracy", "learning rate", "Best epoch", "Balanced accuracy",
        "Train images per second and process", "Seconds waiting for images", "Seconds computing", "Seconds validating",
        "Seconds saving", "Calibration error",
    }  # fmt: skip
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert artifacts >= {"report.html", "curves.png", "confusion_matrix.png", "per_class.csv", "summary.md"}
    assert "kept epoch " in result.stdout.splitlines()[-1]
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "Valid loss")
    assert [metric.step for metric in history] == [1, 2]


def test_a_profile_of_some_steps_is_written_with_a_verdict(
    untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    flags = training_flags(untrained_model, *datasets, tmp_path / "out")
    result = run_entry("train_pytorch_model", {"DESIGNER_VISION_PROFILE": "1"}, **flags)
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("profile: "))
    verdict = (tmp_path / "out" / "profile" / "verdict.txt").read_text()
    assert verdict.startswith("4 steps of 6 images took ")
    assert verdict.strip() in line
    trace = json.loads(gzip.decompress((tmp_path / "out" / "profile" / "trace.json.gz").read_bytes()))
    assert any("conv" in str(event.get("name")) for event in trace["traceEvents"])
    assert read_model_directory(tmp_path / "out").labels == ("blue", "green", "red")


def test_a_report_that_cannot_be_made_costs_no_model(
    untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(page: object) -> str:
        raise MemoryError("no room")

    monkeypatch.setattr(files, "render", fail)
    main(untrained_model, *datasets, SEVEN, tmp_path / "out")
    assert read_model_directory(tmp_path / "out").is_trained


def test_a_model_is_the_same_whether_images_are_kept_in_memory_or_not(
    untrained_model: Path, datasets: tuple[Path, Path], trained_model: Path, tmp_path: Path
) -> None:
    flags = training_flags(untrained_model, *datasets, tmp_path / "out", epochs=2)
    result = run_entry("train_pytorch_model", {"DESIGNER_VISION_CACHE_MB": "0"}, **flags)
    assert result.returncode == 0, result.stderr
    assert "kept in memory" not in result.stdout
    kept, read_anew = read_model_directory(trained_model).weights, read_model_directory(tmp_path / "out").weights
    assert all(torch.equal(kept[name], read_anew[name]) for name in kept)


def test_plain_folders_of_unequal_photos_get_the_default_transformation(
    untrained_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=2, size=(40, 60))
    make_photos(photos / "more", per_class=1, size=(60, 40))
    for label in ("blue", "green", "red"):
        (photos / "more" / label / "photo 0.png").rename(photos / label / "tall.png")
        (photos / "more" / label).rmdir()
    (photos / "more").rmdir()
    main(untrained_model, photos, photos, SEVEN, tmp_path / "out")
    assert capsys.readouterr().out.count("the images have different sizes and no transformation") == 1
    assert read_model_directory(tmp_path / "out").operations == [["Resize", 256], ["CenterCrop", 224]]


def test_validation_labels_are_matched_by_name(tmp_path: Path) -> None:
    training = read_image_directory(make_image_directory(tmp_path / "training"))
    photos = make_photos(tmp_path / "validation")
    for path in (photos / "green").iterdir():
        path.unlink()
    (photos / "green").rmdir()
    _, validation = with_same_classes((), training, read_image_directory(photos))
    assert validation.classes == training.classes
    assert np.unique(validation.labels).tolist() == [0, 2]


def test_a_model_to_fine_tune_keeps_its_own_order_of_the_same_classes(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path))
    training, _ = with_same_classes(("red", "blue", "green"), index, index)
    assert training.classes == ("red", "blue", "green")
    assert [training.row(n).category for n in range(12)] == [index.row(n).category for n in range(12)]
    assert with_same_classes(("red", "blue"), index, index)[0].classes == index.classes


def test_a_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    training = read_image_directory(make_image_directory(tmp_path / "training"))
    photos = make_photos(tmp_path / "validation")
    (photos / "red").rename(photos / "zebra")
    with pytest.raises(InvalidDatasetError, match=r"validation has classes that .*training does not have: zebra"):
        with_same_classes((), training, read_image_directory(photos))


def test_one_class_is_refused(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    for label in ("blue", "green"):
        for path in (photos / label).iterdir():
            path.unlink()
    index = read_image_directory(photos)
    with pytest.raises(InvalidDatasetError, match="has one class, 'red'"):
        with_same_classes((), index, index)


def model(**changed: object) -> Model:
    weights = builders.build(Architecture("resnet18"), 3, seed=9).state_dict()
    return dataclasses.replace(Model(Architecture("resnet18"), weights, labels=("a", "b", "c")), **changed)


def test_an_untrained_network_starts_from_the_seed_and_not_from_its_folder() -> None:
    untrained = model(labels=(), weights={})
    first, second, other = (initial_network(untrained, ("x", "y"), seed).fc.weight for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_trained_network_keeps_its_weights_and_its_head_if_the_classes_are_the_same() -> None:
    trained = model()
    same = initial_network(trained, ("a", "b", "c"), seed=1)
    assert torch.equal(same.fc.weight, trained.weights["fc.weight"])
    other = initial_network(trained, ("a", "b"), seed=1)
    assert torch.equal(other.conv1.weight, trained.weights["conv1.weight"])
    assert other.fc.out_features == 2
    assert not other.fc.weight.any()


def test_a_pretrained_network_keeps_all_but_its_head() -> None:
    weights = builders.build(Architecture("resnet18"), 1000, seed=9).state_dict()
    network = initial_network(model(labels=(), pretrained=True, weights=weights), ("a", "b"), seed=1)
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])
    assert network.fc.out_features == 2
    assert not network.fc.weight.any()


@pytest.mark.parametrize("classes", [("blue", "green", "red"), ("blue", "red")])
def test_a_fine_tuning_that_goes_on_in_another_folder_is_still_one(
    classes: tuple[str, ...], trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise FailedToWriteOutputsError("no room")

    photos = [make_photos(tmp_path / name, per_class=4) for name in ("training", "validation")]
    for folder in photos:
        for label in {"blue", "green", "red"} - {*classes}:
            shutil.rmtree(folder / label)
    begun, _ = read_task(trained_model, *photos, SEVEN, 1)
    monkeypatch.setattr(TrainingOutput, "write_model", fail)
    with pytest.raises(FailedToWriteOutputsError):
        main(trained_model, *photos, SEVEN, tmp_path / "out")
    goes_on, _ = read_task(tmp_path / "out", *photos, SEVEN, 1)
    assert goes_on.configuration == begun.configuration
    assert goes_on.configuration["weights from"] == "a trained model"
    assert goes_on.has_new_head == begun.has_new_head == (len(classes) == 2)
    assert not goes_on.is_from_scratch


def test_a_temperature_that_cannot_be_fitted_costs_no_model(
    untrained_model: Path,
    datasets: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(train_pytorch_model, "see_validation_images", fail)
    main(untrained_model, *datasets, SEVEN, tmp_path / "out")
    assert read_model_directory(tmp_path / "out").temperature == 1
    assert (
        "warning: the temperature and report.html could not be made: DataWorkerError: a data worker ended"
        in capsys.readouterr().out
    )


def test_a_trained_model_is_fine_tuned(trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    main(trained_model, *datasets, dataclasses.replace(SEVEN, learning_rate=1e-12), tmp_path / "out")
    before, after = read_model_directory(trained_model), read_model_directory(tmp_path / "out")
    assert torch.allclose(before.weights["fc.weight"], after.weights["fc.weight"], atol=1e-6)


def test_a_diverged_training_leaves_an_output_that_is_refused(
    untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        main(untrained_model, *datasets, dataclasses.replace(SEVEN, learning_rate=1e30), tmp_path / "out")
    with pytest.raises(InvalidModelDirectoryError, match="unfinished"):
        read_model_directory(tmp_path / "out")


def test_unlabeled_images_are_refused(untrained_model: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    for number, photo in enumerate(sorted(photos.glob("*/*.png"))):
        photo.rename(photos / f"{number}.png")
    with pytest.raises(NotLabeledDatasetError, match="has no labels"):
        main(untrained_model, photos, photos, SEVEN, tmp_path / "out")


def test_inputs_connected_the_wrong_way_round_are_recognised(
    untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="wrong way round"):
        main(datasets[0], untrained_model, datasets[1], SEVEN, tmp_path / "out")


def test_f19_a_worker_that_ended_is_recognised_below_other_errors() -> None:
    def somewhere() -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
        except RuntimeError as error:
            raise SystemError("a function returned a result with an exception set") from error

    with pytest.raises(SystemError) as caught:
        somewhere()
    assert worker_lost(caught.value) == "DataLoader worker (pid 7) is killed by signal: Killed."
    assert worker_lost(ValueError("something else")) == ""
