"""The learning rate of every step: a pure function."""

from __future__ import annotations


def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    """Linear warm-up to `peak`, then linear decay that reaches zero as the last step ends.

    Slower than the classic decay of power 2: benchmarks/choices.py compares them.

    Args:
        step: 0 for the first one.
        peak: the learning rate after the warm-up.
        steps: of the whole training.
        warmup_steps: how many of them rise; with as many as `steps` or more the rate only rises.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - (step - warmup_steps) / (steps - warmup_steps))
