from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from designer_vision.formats.data_frame_directory import ScoredSet
from designer_vision.inference.evaluation import (
    Evaluation,
    Predictions,
    compare,
    confused_pairs,
    evaluate,
    most_confident_mistakes,
    most_confident_of_classes,
)
from designer_vision.runtime.errors import NotLabeledDatasetError


def scored(true: list[str | None] | None, predicted: list[int], labels: tuple[str, ...] = ("a", "b", "c")) -> ScoredSet:
    return ScoredSet(labels, np.eye(len(labels))[predicted], np.arange(len(predicted)), true)


def evaluated(scored: ScoredSet, source: str = "x") -> Evaluation:
    return evaluate(Predictions.of(scored, source))


def test_figures_are_those_worked_out_by_hand() -> None:
    evaluation = evaluated(scored(["a", "a", "a", "b", "b", "c"], [0, 0, 1, 1, 1, 0]))
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
    assert evaluated(scored(["a", None, "b"], [0, 0, 1])).summary["Images"] == 2


def test_a_true_class_that_the_network_does_not_know_counts_as_wrong() -> None:
    evaluation = evaluated(scored(["a", "zebra"], [0, 0]))
    assert evaluation.labels == ("a", "b", "c", "zebra")
    assert evaluation.summary["Overall accuracy"] == 0.5


@pytest.mark.parametrize("true", [None, [None, None]])
def test_an_unlabeled_set_is_refused(true: list[str | None] | None) -> None:
    with pytest.raises(NotLabeledDatasetError, match="scored has no true labels"):
        evaluated(scored(true, [0, 1]), "scored")


def predictions(true: list[str], probability: list[list[float]], ids: list[int] | None = None) -> Predictions:
    """Of the classes a, b and c."""
    numbers = np.array(ids if ids is not None else range(len(true)))
    return Predictions.of(ScoredSet(("a", "b", "c"), np.array(probability), numbers, list(true)), "x")


def test_the_most_confident_mistakes_come_first_and_right_ones_never() -> None:
    sure, unsure, right = [0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.99, 0.01, 0.0]
    made = predictions(["b", "a", "c", "b"], [unsure, right, sure, unsure])
    assert most_confident_mistakes(made, 3) == [2, 0, 3]
    assert most_confident_mistakes(made, 1) == [2]


def test_pairs_are_those_confused_most_often() -> None:
    evaluation = evaluated(scored(["a", "a", "a", "b", "b", "c"], [1, 1, 0, 0, 1, 2]))
    assert confused_pairs(evaluation, 9) == [("a", "b", 2), ("b", "a", 1)]
    assert confused_pairs(evaluation, 1) == [("a", "b", 2)]


def eyes(numbers: list[int]) -> list[list[float]]:
    return np.eye(3)[numbers].tolist()


def test_photos_of_other_names_are_other_photos_whatever_their_ids_and_labels_are() -> None:
    one = replace(predictions(["a", "b"], eyes([0, 1])), names=("photos/a/1.jpg", "photos/b/2.jpg"))
    assert compare(one, replace(one, names=("a/1.jpg", "b/2.jpg"))) is not None
    assert compare(one, replace(one, names=("a/1.jpg", "b/3.jpg"))) is None
    assert compare(one, replace(one, names=("image/0_0.png", "image/1_1.png"))) is not None  # nobody says what these were


def test_two_networks_are_compared_on_the_images_that_both_have() -> None:
    true = ["a", "b", "c", "a", "b"]
    first = predictions(true, eyes([0, 1, 2, 1, 2]), [10, 11, 12, 13, 14])
    second = predictions(["b", "a", "c", "b"], eyes([1, 0, 0, 0]), [14, 13, 12, 11])  # in another order, and 10 is missing
    comparison = compare(first, second)
    assert comparison is not None
    assert comparison.images == 4
    assert sorted(comparison.first_only) == [1, 2]
    assert sorted(comparison.second_only) == [3, 4]
    assert {(first.ids[row], second.ids[other]) for row, other in comparison.changed} == {(11, 11), (12, 12), (13, 13), (14, 14)}


@pytest.mark.parametrize(
    ("first_only", "second_only", "p_value"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 2 / 2**5), (1, 8, 2 * (1 + 9) / 2**9), (3, 3, 1.0), (9, 2, 2 * (1 + 11 + 55) / 2**11)],
)
def test_mcnemars_exact_test_is_the_binomial_one_worked_out_by_hand(first_only: int, second_only: int, p_value: float) -> None:
    count = first_only + second_only + 4
    one = predictions(["a"] * count, eyes([0] * first_only + [1] * second_only + [0, 0, 1, 1]))
    other = predictions(["a"] * count, eyes([1] * first_only + [0] * second_only + [0, 0, 2, 1]))
    comparison = compare(one, other)
    assert comparison is not None
    assert comparison.p_value == pytest.approx(p_value)
    assert len(comparison.changed) == first_only + second_only + 1  # one is wrong in both, in another way
    assert ("hardly chance" in comparison.sentence()) == (p_value < 0.05)


@pytest.mark.parametrize(
    "second",
    [
        predictions(["a", "b"], eyes([0, 1]), [7, 8]),
        predictions(["a", "c"], eyes([0, 1])),
        predictions(["a", "b"], eyes([0, 1]), [0, 0]),
    ],
    ids=["other ids", "other labels", "an id twice"],
)
def test_sets_of_different_images_are_not_compared_image_by_image(second: Predictions) -> None:
    assert compare(predictions(["a", "b"], eyes([0, 1])), second) is None


def test_right_predictions_are_taken_from_several_classes_the_most_confident_first() -> None:
    true = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0])
    some = Predictions(("a", "b", "c"), true, predicted, np.array([0.5, 0.9, 0.7, 0.6, 0.8, 0.9]), np.arange(6))
    assert most_confident_of_classes(some, 1) == [1]
    assert most_confident_of_classes(some, 2) == [1, 4]
    assert sorted(most_confident_of_classes(some, 3)) == [1, 2, 4]
    assert sorted(most_confident_of_classes(some, 6)) == [0, 1, 2, 3, 4]  # the last image is predicted wrong


def test_of_many_classes_evenly_spaced_ones_have_a_right_prediction() -> None:
    numbers = np.arange(11)
    every = Predictions(tuple("abcdefghijk"), numbers, numbers, np.ones(11), numbers)
    assert most_confident_of_classes(every, 6) == [0, 2, 4, 6, 8, 10]
    none = Predictions(("a", "b"), np.array([0]), np.array([1]), np.ones(1), np.zeros(1, np.int64))
    assert most_confident_of_classes(none, 6) == []
