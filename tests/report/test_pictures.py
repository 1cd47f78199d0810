from __future__ import annotations

import io
import math
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from designer_vision.formats.data_frame_directory import ScoredSet
from designer_vision.inference.evaluation import Evaluation, Predictions, evaluate
from designer_vision.report.mistakes import Example
from designer_vision.report.pictures import draw_confusion, draw_curves, draw_mistakes, draw_trials
from designer_vision.training.metrics import Averages
from designer_vision.training.results import EpochResult


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.format == "PNG"
    return picture


def evaluation(labels: tuple[str, ...], wrong: int = 0) -> Evaluation:
    """One image of each class, the first ones taken for their neighbour."""
    count = len(labels)
    predicted = [(number + (number < wrong)) % count for number in range(count)]
    return evaluate(Predictions.of(ScoredSet(labels, np.eye(count)[predicted], np.arange(count), list(labels)), "x"))


@pytest.mark.parametrize(
    "labels",
    [("a", "b"), ("$x$_{", "<script>", "a\nb" * 40), ("猫", "собака"), tuple(f"class {n}" for n in range(30)), tuple(f"class {n}" for n in range(60))],
    ids=["two", "hostile", "other scripts", "a full matrix", "pairs"],
)  # fmt: skip
def test_confusion_can_be_drawn_whatever_the_classes_are_called(labels: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = opened(draw_confusion(evaluation(labels, wrong=min(12, len(labels)))))
    assert min(picture.size) > 300
    assert max(picture.size) < 2500


def test_of_many_classes_only_the_confused_pairs_are_drawn() -> None:
    many, few = evaluation(tuple(f"class {n}" for n in range(500)), wrong=3), evaluation(tuple("abc"))
    assert opened(draw_confusion(many)).size[1] < 500  # three bars, not 500 rows
    assert draw_confusion(many) != draw_confusion(evaluation(few.labels))


@pytest.mark.parametrize("count", [1, 2, 300])
def test_curves_can_be_drawn_of_any_number_of_epochs(count: int) -> None:
    epochs = [
        EpochResult(n, Averages(1 / n, 0.5, 0.9, 10), Averages(2 / n, 0.4, 0.8, 5), 100.0, 0.1 / n) for n in range(1, count + 1)
    ]
    picture = opened(draw_curves(epochs, epochs[-1]))
    assert picture.size == (1100, 704)


@pytest.mark.parametrize("value", [sys.float_info.max, -sys.float_info.max, math.inf, math.nan, None])
@pytest.mark.parametrize("rate", ["0.5", "1e308", "inf", "nan"])
def test_trials_can_be_drawn_whatever_one_reported_and_whatever_it_tried(value: float | None, rate: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(draw_trials("loss", {"rate": [rate, "0.25", "0.125"]}, [value, 0.5, 0.25], [True] * 3, 1))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 6), (24, 6)])
def test_a_contact_sheet_has_a_cell_for_each_mistake(count: int, columns: int) -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    sheet = draw_mistakes([Example("x", "a$", "b", 0.5, None if number == 3 else photo) for number in range(count)])
    width, height = opened(sheet).size
    assert (round(width / 209), round(height / 258.5)) == (columns, -(-count // columns))
