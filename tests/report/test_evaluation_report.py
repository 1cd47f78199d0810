from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image_directory

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.inference.evaluation import Predictions, compare, evaluate
from designer_vision.report.evaluation_report import Scored, write_evaluation_report
from designer_vision.report.files import write_csv
from designer_vision.report.mistakes import Photos
from designer_vision.runtime.errors import InvalidDatasetError

LABELS = ("blue", "green", "red")
TRUE = np.repeat(np.arange(3), 4)


def scored(*wrong: int) -> Scored:
    """Of 12 images, all right but some rows."""
    predicted = np.array([(label + (row in wrong)) % 3 for row, label in enumerate(TRUE)])
    predictions = Predictions(LABELS, TRUE, predicted, np.full(12, 0.75), np.arange(12))
    return Scored(predictions, evaluate(predictions))


def photos(folder: Path, predictions: Predictions) -> Photos:
    return Photos.of(predictions, read_image_directory(make_image_directory(folder), original_names=True))


def test_mistakes_are_shown_with_their_photos_where_these_are_connected(tmp_path: Path) -> None:
    first = scored(1, 5)
    written = write_evaluation_report(tmp_path, first, None, None, photos(tmp_path / "images", first.predictions))
    assert {path.name for path in written} == {
        "report.html", "summary.md", "confusion_matrix.png", "reliability.png", "mistakes.png", "per_class.csv",
    }  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert "blue/1.png" in page
    assert "green/1.png" in page


def test_without_photos_mistakes_are_rows_with_their_ids(tmp_path: Path) -> None:
    write_evaluation_report(tmp_path, scored(1), None, None, None)
    page = (tmp_path / "report.html").read_text()
    assert "<figure>" not in page
    assert "id 1<" in page
    assert "Connect the images that were scored" in page


def test_what_a_second_network_calls_differently_is_listed(tmp_path: Path) -> None:
    first, second = scored(1, 5, 6), scored(1, 7)
    comparison = compare(first.predictions, second.predictions)
    write_evaluation_report(tmp_path, first, second, comparison, photos(tmp_path / "images", first.predictions))
    with (tmp_path / "changed_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["true"], row["scored_set"], row["second_set"]) for row in rows] == [
        ("green/1.png", "green", "red", "green"),
        ("green/2.png", "green", "red", "green"),
        ("green/3.png", "green", "green", "red"),
    ]
    page = (tmp_path / "report.html").read_text()
    assert "Of 12 images, 3 are labelled differently: 2 are right in the second set only, 1 in the first only" in page
    assert (tmp_path / "confusion_matrix_to_compare.png").is_file()


def test_a_table_can_be_written_whatever_bytes_a_file_is_called(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert write_csv(tmp_path / "x.csv", ("image",), [(name,)]).read_text() == "image\ncaf\\udce9.png\n"


def test_sets_of_different_images_stand_side_by_side_only(tmp_path: Path) -> None:
    write_evaluation_report(tmp_path, scored(1), scored(2), None, None)
    assert "do not have the same images" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("ids", "found"), [(np.arange(12) + 12, "nothing"), (np.arange(12)[::-1], "red")])
def test_images_that_were_not_scored_are_refused(tmp_path: Path, ids: np.ndarray, found: str) -> None:
    predictions = Predictions(LABELS, TRUE, TRUE, np.ones(12), ids)
    with pytest.raises(
        InvalidDatasetError, match=f"does not hold the images that were scored: the id .* is '.*' in .* '{found}'"
    ):
        photos(tmp_path / "images", predictions)
