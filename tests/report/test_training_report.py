from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image_directory

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.inference.calibration import calibrate
from designer_vision.inference.evaluation import MOST_CLASSES, Predictions
from designer_vision.inference.heat_map import Seen
from designer_vision.report.mistakes import Photos
from designer_vision.report.training_report import TrainingRun, quality, remarks, write_training_report
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.training.metrics import Averages
from designer_vision.training.parameters import Parameters
from designer_vision.training.results import EpochResult, TimeBreakdown, TrainingResult

SPENT = TimeBreakdown(1, 9, 1, 0)


def parameters(epochs: int, warmup_step_number: int = 0) -> Parameters:
    return Parameters(epochs, 16, warmup_step_number, 0.01, 1, 3, 10)


def history(losses: list[float], training: list[float] | None = None, spent: TimeBreakdown = SPENT) -> list[EpochResult]:
    pairs = enumerate(zip(training or losses, losses, strict=True), 1)
    return [EpochResult(n, Averages(one, 0.5, 1, 12), Averages(other, 0.5, 1, 6), 50.0, 0.1, spent) for n, (one, other) in pairs]


def run_of(folder: Path, predicted: list[int]) -> TrainingRun:
    """Of three classes, two validation images each."""
    training = read_image_directory(make_image_directory(folder / "training", per_class=4))
    validation = read_image_directory(make_image_directory(folder / "validation", per_class=2, first=50), original_names=True)
    epochs = history([1.5, 1.0])
    true, labels = validation.labels.astype(np.int64), np.array(predicted)
    calibration, _ = calibrate(np.log(np.full((6, 3), 0.05) + 0.85 * np.eye(3)[labels]), true)
    predictions = Predictions(validation.classes, true, labels, np.full(6, 0.9), np.arange(6))
    result = TrainingResult(epochs[1], {}, tuple(epochs))
    facts = {"network": "resnet18", "learning_rate": 0.01, "torch": "2.0"}
    seen = (Photos(validation, range(6)), predictions, calibration)
    return TrainingRun(result, training, validation, *seen, facts, ["green is <rare>"], 2, parameters(2))


def test_the_page_tells_how_well_where_wrong_and_of_what(tmp_path: Path) -> None:
    written = write_training_report(tmp_path, run_of(tmp_path, [0, 0, 1, 2, 2, 2]))
    names = {str(path.relative_to(tmp_path)) for path in written}
    pictures = {f"report/{name}.png" for name in ("curves", "confusion_matrix", "reliability", "mistakes")}
    assert names == {"report.html", "report/summary.md", "report/per_class.csv", *pictures}
    page = (tmp_path / "report.html").read_text()
    for text in ("Training of resnet18", "50.0 %", "2 of 2", "green is &lt;rare&gt;", "green/51.png", "learning_rate", "25.0"):
        assert text in page, text
    assert f"trained_model={tmp_path}" in page
    with (tmp_path / "report" / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["training_images"], row["validation_images"]) for row in rows] == [
        ("blue", "4", "2"), ("green", "4", "2"), ("red", "4", "2"),
    ]  # fmt: skip
    assert [float(row["recall"]) for row in rows] == [1, 0.5, 1]


@pytest.mark.parametrize("predicted", [[0, 0, 1, 2, 2, 2], [0, 0, 1, 1, 2, 2]], ids=["a mistake", "none"])
def test_what_a_heat_map_is_and_is_not_is_said_once(tmp_path: Path, predicted: list[int]) -> None:
    run = run_of(tmp_path, predicted)
    seen = Seen(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.float32), "blue")
    write_training_report(tmp_path, replace(run, photos=replace(run.photos, seen=dict.fromkeys(range(6), seen))))
    page = (tmp_path / "report.html").read_text()
    assert page.count("where, not why") == 1
    assert page.count("heat map of ") == 6
    assert "<h2>Predicted correctly" in page


def test_without_a_mistake_there_is_no_contact_sheet(tmp_path: Path) -> None:
    written = write_training_report(tmp_path, run_of(tmp_path, [0, 0, 1, 1, 2, 2]))
    assert not [path for path in written if path.name == "mistakes.png"]
    assert "No image is predicted wrong." in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("epochs", "planned", "said"),
    [
        (history([3, 2]), 2, "lowest in the last epoch: more epochs may give a better network"),
        (history([3, 2, 2.5, 2.4]), 9, "stopped after epoch 4 of 9: for 3 epochs in a row the validation loss had no new low"),
        (history([3, 2, 2.5], training=[3, 1, 0.5]), 3, "lowest in epoch 2 and rose while the training loss fell"),
        (history([3], training=[4.6]), 1, "first epoch was 4.6, where guessing gives 3: the first steps were too large"),
        (
            history([9.5], training=[2]),
            1,
            "The validation loss of the first epoch was 9.5, where guessing gives 3: the first steps",
        ),
        (history([3], spent=TimeBreakdown(30, 70, 5, 5)), 1, "Loading images took 30.0 % of training time: more CPU cores"),
        (history([3], spent=TimeBreakdown(1, 9, 5, 5)), 1, "took 10.0 % of training time: the processors were busy"),
        (history([3], spent=TimeBreakdown()), 1, "took 0.0 % of training time: the processors"),
    ],
)
def test_what_the_curves_mean_is_said(epochs: list[EpochResult], planned: int, said: str) -> None:
    assert said in " ".join(remarks(epochs, parameters(planned), 20))


def test_a_warmup_is_advised_to_whom_had_none() -> None:
    exploded = history([3], training=[4.6])
    assert remarks(exploded, parameters(1), 20)[0].endswith("Try warmup_step_number 1 or a lower learning_rate.")
    assert remarks(exploded, parameters(1, warmup_step_number=1), 20)[0].endswith(" too large. Try a lower learning_rate.")


def test_where_the_kept_network_saw_some_of_the_validation_images_the_page_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 0, 1, 1, 2, 2])
    twice = replace(run.validation.subset(np.arange(12) % 6))
    write_training_report(tmp_path, replace(run, validation=twice))
    assert "12 to validate (6 of them are counted below), 3 classes" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report" / "per_class.csv").read_text().startswith("class,training_images,scored_images,")


def test_nothing_is_said_of_what_did_not_happen() -> None:
    (only,) = remarks(history([3, 2, 2.05, 2.01], training=[3, 2, 1, 1]), parameters(4), 20)
    assert only.endswith("the processors were busy.")


def test_a_loss_that_is_large_later_or_a_little_above_a_guess_did_not_explode() -> None:
    for epochs in (history([8.9, 2, 1.9], training=[4.4, 3, 2]), history([3, 30, 1.9], training=[3, 30, 2])):
        assert not [line for line in remarks(epochs, parameters(3), 20) if "first epoch" in line]
    assert (
        len([line for line in remarks(history([30, 2, 1.9], training=[30, 3, 2]), parameters(3), 20) if "first epoch" in line])
        == 1
    )


def test_after_an_explosion_no_higher_learning_rate_is_advised(tmp_path: Path) -> None:
    run = with_top1(run_of(tmp_path, [0, 0, 0, 0, 0, 0]), 1 / 3)
    exploded = replace(run, result=replace(run.result, history=tuple(history([30.0, 2.0]))))
    assert "or a lower learning_rate, and look at" in quality(exploded)


def test_what_a_short_training_waits_for_at_its_start_is_not_held_against_it() -> None:
    assert remarks(history([3], spent=TimeBreakdown(2, 2, 1, 0)), parameters(1), 20) == []


def test_of_more_classes_than_can_be_evaluated_no_matrix_is_made(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 0, 1, 1, 2, 2])
    many = tuple(f"class {number:05}" for number in range(MOST_CLASSES + 1))
    with pytest.raises(InvalidDatasetError, match="5,001 classes, expected at most 5,000"):
        write_training_report(tmp_path, replace(run, predictions=replace(run.predictions, labels=many)))


def test_classes_of_the_network_that_no_validation_image_has_are_in_the_table(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 0, 1, 1, 2, 2])
    less = run.validation.subset(np.arange(4))
    said = run.predictions
    four = replace(said, true=said.true[:4], predicted=said.predicted[:4], probability=said.probability[:4], ids=said.ids[:4])
    write_training_report(tmp_path, replace(run, validation=less, photos=Photos(less, range(4)), predictions=four))
    assert (tmp_path / "report" / "per_class.csv").read_text().splitlines()[3] == "red,4,0,,,"
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("<h2>Classes") :]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", table)[12:18] == ["red", "4", "0", "–", "–", "–"]  # last, not worst


def with_top1(run: TrainingRun, top1: float, **facts: object) -> TrainingRun:
    best = replace(run.result.best, validation=replace(run.result.best.validation, top1=top1))
    return replace(run, result=replace(run.result, best=best), facts=run.facts | facts)


def test_a_network_that_guesses_is_told_first_of_all_with_what_to_try(tmp_path: Path) -> None:
    run = with_top1(run_of(tmp_path, [0, 0, 0, 0, 0, 0]), 1 / 3)
    write_training_report(tmp_path, run)
    page = (tmp_path / "report.html").read_text()
    first = re.findall(r"<li>([^<]*)</li>", page)[0]
    assert first == (
        "The network is no better than guessing: 33.3 % of the 6 validation images are predicted correctly; guessing would get "
        "33.3 %. Try more epochs, pretrained weights, or another learning_rate, and look at the labels of some images."
    )
    assert "pretrained weights" not in quality(with_top1(run, 1 / 3, **{"weights from": "ImageNet"}))
    assert quality(with_top1(run, 0.5)).startswith("The network is hardly better than guessing: 50.0 % of the 6")


def test_where_one_class_is_larger_the_guess_is_that_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 0, 1, 1, 2, 2])
    uneven = replace(run, validation=run.validation.subset(np.array([0, 1, 2, 0, 1, 0, 1, 0, 1, 0])))
    said = quality(with_top1(uneven, 0.9))
    assert said.startswith("The network is no better than always predicting the largest class, blue: 90.0 % of the 10")
    assert said.partition(";")[2].startswith(" always predicting the largest class, blue, would get 90.0 %.")
    assert quality(with_top1(uneven, 1.0)).startswith("100.0 % of the 10 validation images are predicted correctly; always")


@pytest.mark.parametrize(("classes", "times"), [(5, 0), (6, 2)])
def test_top5_is_told_of_more_than_five_classes_only(tmp_path: Path, classes: int, times: int) -> None:
    run = run_of(tmp_path, [0, 0, 1, 1, 2, 2])
    names = ("blue", "green", "red", "x", "y", "z")[:classes]
    widened = [replace(index, classes=names) for index in (run.training, run.validation)]
    write_training_report(tmp_path, replace(run, training=widened[0], validation=widened[1]))
    assert (tmp_path / "report.html").read_text().count("top-5") == times
