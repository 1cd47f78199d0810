from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import make_image_directory, run_entry

from designer_vision.components import score_image_model
from designer_vision.components.evaluate_model import main
from designer_vision.formats.data_frame_directory import ScoredSet, write_data_frame_directory
from designer_vision.formats.model_directory import read_model_directory, write_model_directory
from designer_vision.report import files
from designer_vision.runtime.errors import InvalidDatasetError, InvalidModelDirectoryError


def write_scored(folder: Path, predicted: list[int]) -> Path:
    write_data_frame_directory(folder, ScoredSet(("a", "b"), np.eye(2)[predicted], np.arange(4), ["a", "a", "b", "b"]))
    return folder


def logged() -> tuple[dict[str, float], set[str]]:
    """The only run's metrics, and the names of its artifacts."""
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    return run.data.metrics, {file.path for file in client.list_artifacts(run.info.run_id)}


def test_figures_are_in_json_and_in_mlflow_with_the_page_and_its_pictures(tmp_path: Path) -> None:
    main(write_scored(tmp_path / "scored", [0, 0, 1, 0]), None, None, None, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["metrics"]["Overall accuracy"] == 0.75
    assert content["per_class"]["a"]["precision"] == 2 / 3
    assert content["confusion_matrix"] == {"labels": ["a", "b"], "true_by_predicted": [[2, 0], [1, 1]]}
    metrics, artifacts = logged()
    assert metrics == content["metrics"]
    assert artifacts == {"report.html", "summary.md", "confusion_matrix.png", "reliability.png", "per_class.csv"}
    assert artifacts | {"metrics.json"} == {path.name for path in (tmp_path / "out").iterdir()}


def test_a_second_scored_set_is_compared_with_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(write_scored(tmp_path / "one", [0, 0, 1, 0]), write_scored(tmp_path / "two", [0, 0, 1, 1]), None, None, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["to_compare"]["metrics"]["Overall accuracy"] == 1
    assert content["comparison"] == {
        "images": 4, "changed": 1, "only_first_right": 0, "only_second_right": 1, "mcnemar_p_value": 1.0,
    }  # fmt: skip
    assert (tmp_path / "out" / "confusion_matrix_to_compare.png").is_file()
    said = capsys.readouterr().out.splitlines()
    compared, second, first = [line for line in said if not line.startswith("warning: MLflow")]  # which may not answer in time
    assert compared.startswith("Of 4 images, 1 are labelled differently: 1 are right in the second set only, 0 in the first only")
    assert second.startswith("to compare: Images 4 | Overall accuracy 1 | Average accuracy 1 | ")
    assert first.startswith("Images 4 | Overall accuracy 0.75 | ")


def test_mistakes_have_the_names_of_their_files_without_the_images_too(tmp_path: Path) -> None:
    names = ["a/1.jpg", "a/2.jpg", "b/=1+1.jpg", "=b.jpg"]
    for folder, predicted in (("one", [0, 0, 1, 0]), ("two", [0, 0, 1, 1])):
        scored = ScoredSet(("a", "b"), np.eye(2)[predicted], np.arange(4), ["a", "a", "b", "b"], names)
        write_data_frame_directory(tmp_path / folder, scored)
    main(tmp_path / "one", tmp_path / "two", None, None, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">=b.jpg<" in page
    assert "id 3" not in page
    assert (tmp_path / "out" / "changed_images.csv").read_text().splitlines()[1].startswith("'=b.jpg,b,a,")


def test_the_scored_images_can_be_connected(tmp_path: Path) -> None:
    images = make_image_directory(tmp_path / "images", per_class=2)
    labels, true = ("blue", "green", "red"), ["blue", "blue", "green", "green", "red", "red"]
    scored = ScoredSet(labels, np.eye(3)[[0, 1, 1, 1, 2, 2]], np.arange(6), true)
    write_data_frame_directory(tmp_path / "scored", scored)
    flags = {"scored_dataset": tmp_path / "scored", "dataset": images, "evaluation_results": tmp_path / "out"}
    result = run_entry("evaluate_model", **flags)
    assert result.returncode == 0, result.stderr
    assert "blue/1.png" in (tmp_path / "out" / "report.html").read_text()
    other = make_image_directory(tmp_path / "other", per_class=1)
    result = run_entry("evaluate_model", **(flags | {"dataset": other, "evaluation_results": tmp_path / "out2"}))
    assert result.returncode != 0
    assert f"InvalidDatasetError: dataset: {other} does not hold the images that were scored" in result.stderr


def test_a_report_that_cannot_be_made_is_a_warning_and_the_figures_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(page: object) -> str:
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(files, "render", fail)
    main(write_scored(tmp_path / "scored", [0, 0, 1, 0]), None, None, None, tmp_path / "out")
    assert "warning: report.html could not be made: RuntimeError: no font\n" in capsys.readouterr().out
    assert (tmp_path / "out" / "metrics.json").is_file()
    assert not (tmp_path / "out" / "_unfinished").exists()


def test_a_wrong_dataset_leaves_no_output(tmp_path: Path) -> None:
    images = make_image_directory(tmp_path / "images", per_class=2)
    with pytest.raises(InvalidDatasetError, match="does not hold the images that were scored"):
        main(write_scored(tmp_path / "scored", [0, 0, 1, 0]), None, images, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_classic", [False, True], ids=["ours", "without a transformation"])
def test_with_the_model_that_scored_photos_have_heat_maps(
    trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, is_classic: bool
) -> None:
    model = trained_model
    if is_classic:
        model = tmp_path / "model"
        write_model_directory(model, replace(read_model_directory(trained_model), operations=None, size=None))
    score_image_model.main(model, datasets[1], 0, tmp_path / "scored")
    flags = {"scored_dataset": tmp_path / "scored", "dataset": datasets[1], "trained_model": model}
    result = run_entry("evaluate_model", **flags, evaluation_results=tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('alt="heat map of ') == page.count("<figure>") == 6
    assert page.count("A heat map shows where") == 1
    assert "Predicted correctly" in page


def test_a_model_needs_the_images_it_scored(trained_model: Path, tmp_path: Path) -> None:
    flags = {"scored_dataset": write_scored(tmp_path / "scored", [0, 0, 1, 0]), "trained_model": trained_model}
    result = run_entry("evaluate_model", **flags, evaluation_results=tmp_path / "out")
    assert result.returncode != 0
    assert result.stderr == (
        f"Error 0018: InvalidDatasetError: trained_model: {trained_model} is connected and dataset is not: heat maps are drawn over "
        "images; connect those that Score Image Model scored, or leave the model out\n"
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("untrained", "is an untrained model; connect the output of Train PyTorch Model"),
        ("classes", "did not score these images: it has 3 classes and the scored set 3, and 'green' is in one of them only"),
        ("weights", "did not score these images: it labels 6 of 6 otherwise; connect the model that Score Image Model was given"),
    ],
)
def test_a_model_that_did_not_score_is_refused(
    trained_model: Path, untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, kind: str, said: str
) -> None:
    score_image_model.main(trained_model, datasets[1], 0, tmp_path / "scored")
    model = read_model_directory(trained_model)
    folder = tmp_path / kind
    if kind == "untrained":
        folder = untrained_model
    elif kind == "classes":
        write_model_directory(folder, replace(model, labels=("blue", "grey", "red")))
    else:
        shifted = {name: tensor.roll(1, 0) if name.startswith("fc.") else tensor for name, tensor in model.weights.items()}
        write_model_directory(folder, replace(model, weights=shifted))
    with pytest.raises(InvalidModelDirectoryError, match=said):
        main(tmp_path / "scored", None, datasets[1], folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
