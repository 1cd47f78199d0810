"""The seven parameters of Train PyTorch Model, checked once and frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from designer_vision.runtime.errors import GreaterThanError, GreaterThanOrEqualToError


@dataclass(frozen=True)
class Parameters:
    """What the person chose.

    Attributes:
        epochs: passes over the training images; > 0.
        batch_size: images a step and process; > 0.
        warmup_step_number: epochs over which the learning rate rises linearly; >= 0.
        learning_rate: of one process; what more of them make of it is in optimizer.py; > 0.
        random_seed: any 64-bit integer; decides initial weights, order and random operations.
        patience: epochs in a row without a new lowest validation loss before training stops; > 0.
        print_frequency: iterations between log lines; > 0.

    Raises:
        GreaterThanError, GreaterThanOrEqualToError: naming the parameter, its value and its limit.
    """

    epochs: int
    batch_size: int
    warmup_step_number: int
    learning_rate: float
    random_seed: int
    patience: int
    print_frequency: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "patience", "print_frequency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise GreaterThanError(f"{name} is {value}, it must be greater than 0")
        if self.warmup_step_number < 0:
            raise GreaterThanOrEqualToError(f"warmup_step_number is {self.warmup_step_number}, it must not be below 0")

    @property
    def torch_seed(self) -> int:
        """The seed in the range that torch takes, 0 to 2**63 - 1."""
        return self.random_seed % 2**63
