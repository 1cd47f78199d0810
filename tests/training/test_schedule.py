from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.training.schedule import learning_rate_at


def test_it_rises_and_falls_in_a_straight_line() -> None:
    assert [learning_rate_at(step, 8.0, 6, 2) for step in range(6)] == pytest.approx([4, 8, 8, 6, 4, 2])


@given(st.integers(1, 500), st.integers(0, 600), st.floats(1e-6, 10))
def test_it_stays_above_zero_and_never_over_the_peak(steps: int, warmup: int, peak: float) -> None:
    rates = [learning_rate_at(step, peak, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)


def test_a_warm_up_as_long_as_the_training_only_rises() -> None:
    rates = [learning_rate_at(step, 1.0, 5, 10) for step in range(5)]
    assert rates == sorted(rates)
    assert rates[-1] == 0.5
