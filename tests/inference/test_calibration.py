"""Temperatures, calibration errors and thresholds, beside figures computed otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.inference.calibration import (
    FEWEST_IMAGES,
    HIGHEST,
    LOWEST,
    Figures,
    Numbers,
    fit_temperature,
    refusal_of,
    reliability,
    thresholds,
    with_temperature,
)


def drawn(temperature: float, images: int = 4000, classes: int = 5, seed: int = 0) -> tuple[Figures, Numbers]:
    """Log-probabilities of a network that is too sure by a factor, and labels as they really fall."""
    random = np.random.default_rng(seed)
    honest = 2 * random.normal(size=(images, classes))
    probabilities = with_temperature(honest, 1)
    labels = np.array([random.choice(classes, p=row) for row in probabilities], np.int64)
    return np.log(with_temperature(honest * temperature, 1)), labels


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_the_temperature_by_which_a_network_is_too_sure_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_the_one_that_gradient_descent_finds() -> None:
    logits, labels = drawn(3, images=3000)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits) / log_temperature.exp(), torch.from_numpy(labels))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    assert fit_temperature(logits, labels) == pytest.approx(log_temperature.exp().item(), rel=0.01)


def test_a_network_without_mistakes_is_not_taken_for_one_that_never_errs() -> None:
    labels = np.arange(50) % 2
    logits = np.where(np.eye(2)[labels] == 1, 3.0, -3.0)
    probabilities = with_temperature(logits, fit_temperature(logits, labels))
    assert probabilities.max() == pytest.approx(50 / 51, abs=0.001)


@given(
    st.integers(1, 60).flatmap(
        lambda images: st.lists(
            st.tuples(st.lists(st.floats(-700, 700), min_size=3, max_size=3), st.integers(0, 2)), min_size=images, max_size=images
        )
    )
)
def test_any_logits_have_a_temperature_within_bounds_which_changes_no_prediction(rows: list[tuple[list[float], int]]) -> None:
    logits, labels = np.array([row for row, _ in rows]), np.array([label for _, label in rows])
    temperature = fit_temperature(logits, labels)
    assert LOWEST <= temperature <= HIGHEST
    probabilities = with_temperature(logits, temperature)
    assert np.isfinite(probabilities).all()
    best = logits.argmax(axis=1)
    assert (probabilities[np.arange(len(best)), best] == probabilities.max(axis=1)).all()


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    probability = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 5)
    found = reliability(probability, right)
    assert found.images.sum() == 20
    assert found.error == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


def test_a_probability_on_the_edge_of_two_bins_is_in_the_lower_one_and_none_is_lost() -> None:
    found = reliability(np.array([0.0, 1 / 15, 1.0]), np.array([True, False, True]))
    assert found.images.tolist() == [2, *[0] * 13, 1]


def test_a_threshold_answers_as_many_images_as_the_accuracy_allows() -> None:
    probability = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    right = np.array([True, True, True, True, False, True, True, True, True, True])
    ninety, ninety_five, _ = thresholds(probability, right)
    assert (ninety.probability, ninety.coverage, ninety.accuracy) == (0.1, 1.0, 0.9)
    assert (ninety_five.probability, ninety_five.coverage, ninety_five.accuracy) == (0.7, 0.4, 1.0)


def test_images_of_equal_probability_are_answered_together_or_not_at_all() -> None:
    found = thresholds(np.array([0.9, 0.8, 0.8]), np.array([True, True, False]), targets=(1.0,))
    assert (found[0].probability, found[0].coverage) == (0.9, 1 / 3)


def test_where_the_surest_answer_is_wrong_no_threshold_may_reach_the_accuracy() -> None:
    found = thresholds(np.array([0.9, 0.8]), np.array([False, True]), targets=(0.99,))
    assert found[0].probability is None


def test_too_few_images_and_a_single_class_are_refused_with_the_reason() -> None:
    assert "30 are needed" in refusal_of(np.arange(FEWEST_IMAGES - 1))
    assert "one class" in refusal_of(np.zeros(FEWEST_IMAGES, np.int64))
    assert refusal_of(np.arange(FEWEST_IMAGES)) == ""
