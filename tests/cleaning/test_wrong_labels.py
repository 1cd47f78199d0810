from __future__ import annotations

import numpy as np
import pytest

from designer_vision.cleaning.wrong_labels import find_wrong_labels


def made_scores(images: int, classes: int, accuracy: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True labels, labels of which a tenth is flipped, and the probabilities of a network that is right so often."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, images)
    given = np.where(draw.random(images) < 0.1, (true + draw.integers(1, classes, images)) % classes, true)
    predicted = np.where(draw.random(images) < accuracy, true, draw.integers(0, classes, images))
    logits = draw.normal(0, 1, (images, classes))
    logits[np.arange(images), predicted] += draw.uniform(3, 8, images)
    exponentials = np.exp(logits)
    return true, given, exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("accuracy", "precision", "recall"), [(1.0, 0.95, 0.75), (0.95, 0.7, 0.8)])
def test_a_tenth_of_labels_that_were_flipped_is_found(accuracy: float, precision: float, recall: float) -> None:
    true, given, probabilities = made_scores(2000, 8, accuracy, seed=1)
    found = find_wrong_labels(given, probabilities)
    wrong, flagged = set(np.flatnonzero(true != given)), {suspect.place for suspect in found}
    assert len(wrong & flagged) / len(flagged) >= precision
    assert len(wrong & flagged) / len(wrong) >= recall
    first = found[:50]
    assert np.mean([suspect.suggested == true[suspect.place] != given[suspect.place] for suspect in first]) >= precision
    margins = [suspect.given_probability - suspect.suggested_probability for suspect in found]
    assert margins == sorted(margins)


def test_right_labels_of_a_sure_network_are_not_suspect() -> None:
    given = np.repeat(np.arange(3), 20)
    assert find_wrong_labels(given, np.eye(3)[given] * 0.9 + 0.1 / 3) == []


def test_a_class_that_the_network_is_never_sure_of_has_a_threshold_of_its_own() -> None:
    """Of class 1 it says 0.45 at most: less than it says of class 0, and wrong labels of it are found all the same."""
    given = np.array([0] * 20 + [1] * 20)
    probabilities = np.array([[0.95, 0.05]] * 18 + [[0.55, 0.45]] * 2 + [[0.6, 0.4]] * 20)
    found = find_wrong_labels(given, probabilities)
    assert [(suspect.place, suspect.given, suspect.suggested) for suspect in found] == [(18, 0, 1), (19, 0, 1)]


def test_a_class_of_no_image_is_never_suggested_and_no_images_have_no_suspects() -> None:
    assert find_wrong_labels(np.array([0, 0]), np.array([[0.1, 0.9], [0.2, 0.8]])) == []
    assert find_wrong_labels(np.empty(0, np.int64), np.empty((0, 2))) == []
