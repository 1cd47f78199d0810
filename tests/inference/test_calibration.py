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
    calibrate,
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
    clear = np.sort(logits, axis=1)[:, -1] > np.sort(logits, axis=1)[:, -2] + 1e-9
    assert (probabilities.argmax(axis=1) == best)[clear].all()


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
    probability = np.linspace(0.99505, 0.60505, 40)
    right = np.ones(40, bool)
    right[[25, 30, 31, 33]] = False  # the first 25 are right
    ninety, ninety_five, ninety_nine = thresholds(probability, right)
    assert (ninety.probability, ninety.coverage, ninety.accuracy) == (pytest.approx(0.605, abs=1e-4), 1.0, 0.9)
    assert (ninety_five.probability, ninety_five.coverage) == (pytest.approx(0.705, abs=1e-4), 30 / 40)
    assert ninety_five.accuracy == pytest.approx(29 / 30)
    assert ninety_nine.probability is None  # 25 right answers do not tell 99 %


def test_images_of_equal_probability_are_answered_together_or_not_at_all() -> None:
    found = thresholds(np.array([0.9, 0.9, 0.8, 0.8]), np.array([True, True, True, False]), targets=(0.5, 0.8))
    assert [one.coverage for one in found] == [1.0, 0.0]


def test_where_the_surest_answers_are_wrong_no_threshold_may_reach_the_accuracy() -> None:
    found = thresholds(np.linspace(0.9, 0.1, 200), np.arange(200) >= 3, targets=(0.99,))
    assert found[0].probability is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_whoever_applies_the_threshold_as_it_is_shown_gets_what_was_told(rows: list[tuple[float, bool]]) -> None:
    probability, right = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    for found in thresholds(probability, right, targets=(0.5, 0.8)):
        if found.probability is not None:
            answered = probability >= float(f"{found.probability:.4f}")
            assert (answered.mean(), right[answered].mean()) == (pytest.approx(found.coverage), pytest.approx(found.accuracy))


def test_the_calibration_error_of_chance_is_what_honest_probabilities_have() -> None:
    random = np.random.default_rng(1)
    errors, told = [], []
    for _ in range(300):
        probability = random.uniform(0.2, 1, 200)
        found = reliability(probability, random.uniform(size=200) < probability)
        errors.append(found.error)
        told.append(found.chance)
    assert np.mean(told) == pytest.approx(np.mean(errors), rel=0.1)


def test_of_many_images_the_temperature_is_fitted_to_some_and_told_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(3)
    whole, _ = calibrate(logits.astype(np.float32), labels)
    monkeypatch.setattr("designer_vision.inference.calibration.FITTED_TO", 10_000)
    monkeypatch.setattr("designer_vision.inference.calibration.ROWS", 7)
    some, others = calibrate(logits.astype(np.float32), labels)
    assert some.temperature == fit_temperature(logits[::2].astype(np.float32).astype(float), labels[::2]) != whole.temperature
    assert some.after.images.sum() == len(labels)
    assert np.allclose(others, with_temperature(logits, some.temperature).max(axis=1), rtol=1e-5)
    assert not whole.is_at_a_limit


def test_a_fit_that_ends_at_its_limit_is_told() -> None:
    found, _ = calibrate(10 * np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32), np.arange(500) % 5)
    assert found.is_at_a_limit


def test_too_few_images_and_a_single_class_are_refused_with_the_reason() -> None:
    assert "30 are needed" in refusal_of(np.arange(FEWEST_IMAGES - 1))
    assert "one class" in refusal_of(np.zeros(FEWEST_IMAGES, np.int64))
    assert refusal_of(np.arange(FEWEST_IMAGES)) == ""
