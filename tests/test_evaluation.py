from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from designer_vision.directories.data_frame_directory import ScoredSet
from designer_vision.errors import NotLabeledDatasetError
from designer_vision.evaluation import draw_confusion_matrix, evaluate


def scored(true: list[str | None] | None, predicted: list[int], labels: tuple[str, ...] = ("a", "b", "c")) -> ScoredSet:
    return ScoredSet(labels, np.eye(len(labels))[predicted], np.arange(len(predicted)), true)


def test_figures_are_those_worked_out_by_hand() -> None:
    evaluation = evaluate(scored(["a", "a", "a", "b", "b", "c"], [0, 0, 1, 1, 1, 0]), "x")
    assert evaluation.matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert evaluation.per_class["a"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert evaluation.per_class["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    summary = evaluation.summary
    assert summary["Images"] == 6
    assert summary["Overall accuracy"] == pytest.approx(4 / 6)
    assert summary["Average accuracy"] == pytest.approx((4 / 6 + 5 / 6 + 5 / 6) / 3)
    assert summary["Micro precision"] == summary["Micro recall"] == pytest.approx(4 / 6)
    assert summary["Macro precision"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert summary["Macro recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_images_without_a_true_label_do_not_count() -> None:
    assert evaluate(scored(["a", None, "b"], [0, 0, 1]), "x").summary["Images"] == 2


def test_a_true_class_that_the_network_does_not_know_counts_as_wrong() -> None:
    evaluation = evaluate(scored(["a", "zebra"], [0, 0]), "x")
    assert evaluation.labels == ("a", "b", "c", "zebra")
    assert evaluation.summary["Overall accuracy"] == 0.5


@pytest.mark.parametrize("true", [None, [None, None]])
def test_an_unlabeled_set_is_refused(true: list[str | None] | None) -> None:
    with pytest.raises(NotLabeledDatasetError, match="scored has no true labels"):
        evaluate(scored(true, [0, 1]), "scored")


@pytest.mark.parametrize("labels", [("a", "b"), ("$x$_{", "<script>", "a\nb" * 40), tuple(f"class {n}" for n in range(60))])
def test_the_picture_can_be_drawn_whatever_the_classes_are_called(tmp_path: Path, labels: tuple[str, ...]) -> None:
    count = len(labels)
    evaluation = evaluate(scored(list(labels), [0, *range(1, count)], labels), "x")
    draw_confusion_matrix(evaluation, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 300
