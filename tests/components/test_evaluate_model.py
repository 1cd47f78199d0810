from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import make_image_directory, run_entry

from designer_vision.components.evaluate_model import main
from designer_vision.formats.data_frame_directory import ScoredSet, write_data_frame_directory
from designer_vision.report import files
from designer_vision.runtime.errors import InvalidDatasetError


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
    said = capsys.readouterr().out
    compared, second, first = said.splitlines()
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
