from __future__ import annotations

import math

import pytest

from designer_vision.runtime.errors import DesignerError
from designer_vision.training.parameters import Parameters

GOOD = {
    "epochs": 5, "batch_size": 16, "warmup_step_number": 0, "learning_rate": 0.001, "random_seed": 1, "patience": 3, "print_frequency": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", -1), ("warmup_step_number", -1), ("learning_rate", 0.0), ("learning_rate", math.nan),
     ("learning_rate", math.inf), ("patience", 0), ("print_frequency", 0)],
)  # fmt: skip
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(DesignerError, match=f"{name} is {value}"):
        Parameters(**GOOD | {name: value})


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1])
def test_any_integer_is_a_seed_that_torch_takes(seed: int) -> None:
    assert 0 <= Parameters(**GOOD | {"random_seed": seed}).torch_seed < 2**63
