"""What a training tells while it works and when it is done."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from designer_vision.training.checkpoint import Position, State
from designer_vision.training.metrics import Averages

SLOW, SLOW_SECONDS = 2, 1.0
"""A rank is slow that takes so many times as long as the others, and so much longer in an epoch."""


@dataclass(frozen=True)
class IterationLog:
    """What one log line says; the figures are of the iterations since the last line, over all ranks."""

    epoch: int
    iteration: int
    iterations: int
    images_per_second: float
    loss: float
    error: float
    learning_rate: float
    seconds_left: float


@dataclass
class TimeBreakdown:
    """Seconds of the main process since the figures of the epoch before.

    Attributes:
        waiting: for images to train on.
        computing: the other time of training.
        validating: reading images and computing on them.
        saving: copying a checkpoint's content; it is written to the disk beside the training.
    """

    waiting: float = 0.0
    computing: float = 0.0
    validating: float = 0.0
    saving: float = 0.0

    @property
    def total(self) -> float:
        return self.waiting + self.computing + self.validating + self.saving


@dataclass(frozen=True)
class EpochResult:
    """The figures of one epoch, over all ranks; `number` counts from 1."""

    number: int
    training: Averages
    validation: Averages
    images_per_second: float
    learning_rate: float
    spent: TimeBreakdown = field(default_factory=TimeBreakdown)

    def metrics(self) -> dict[str, float]:
        """The classic designer's, under its names."""
        return {
            "Train images per second": self.images_per_second,
            "Train loss": self.training.loss,
            "Train error": self.training.error,
            "Valid loss": self.validation.loss,
            "Top-1 validation accuracy": self.validation.top1,
            "Top-5 validation accuracy": self.validation.top5,
            "learning rate": self.learning_rate,
        }

    def seconds(self) -> dict[str, float]:
        """Where the time went, as metrics."""
        return {
            "Seconds waiting for images": self.spent.waiting,
            "Seconds computing": self.spent.computing,
            "Seconds validating": self.spent.validating,
            "Seconds saving": self.spent.saving,
        }


@dataclass
class Callbacks:
    """What the trainer tells while it works, and asks between two batches; the main rank sets most of these.

    Attributes:
        on_iteration: every print_frequency iterations and at an epoch's last one.
        on_epoch: after each validation.
        on_slow_rank: after an epoch, with a rank that was slow, its seconds and those of most.
        on_step: after every iteration, with how many images this rank took, and how many seconds it waited for them and
            computed on them.
        on_save: with all that is needed to go on from here, and how far it is.
        is_save_due: asked between two batches (False) and after each epoch (True).
        is_stop_requested: asked between two batches, on every rank.
    """

    on_iteration: Callable[[IterationLog], None] = lambda iteration: None
    on_epoch: Callable[[EpochResult], None] = lambda epoch: None
    on_slow_rank: Callable[[int, float, float], None] = lambda rank, seconds, usual: None
    on_step: Callable[[int, float, float], None] = lambda images, waited, computed: None
    on_save: Callable[[State, Position], None] = lambda state, position: None
    is_save_due: Callable[[bool], bool] = lambda epoch_ended: False
    is_stop_requested: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        best: the epoch that is kept.
        weights: of that epoch; on the main rank only.
        history: all epochs.
    """

    best: EpochResult
    weights: Mapping[str, Tensor]
    history: tuple[EpochResult, ...]


def epoch_to_keep(history: Sequence[EpochResult]) -> EpochResult:
    """The latest epoch whose top-1 is as good as the best, give or take its standard error, or one image.

    Of a hundred validation images a few decide which epoch looks best; a later one has learned at a lower rate, and is better on
    other images. Of many validation images the error is small, and the best epoch is the one that is kept.
    """
    best = max((epoch.validation for epoch in history), key=lambda validation: validation.top1)
    error = max(math.sqrt(best.top1 * (1 - best.top1) / best.seen), 1.001 / best.seen)
    least = best.top1 - error
    return [epoch for epoch in history if epoch.validation.top1 >= least][-1]


def epochs_without_improvement(history: Sequence[EpochResult]) -> int:
    """How many epochs in a row, up to the last, had no new lowest validation loss."""
    losses = [epoch.validation.loss for epoch in history]
    return len(losses) - 1 - losses.index(min(losses))


def slow_ranks(seconds: list[float]) -> list[int]:
    """The ranks that took much longer than most for what each does alone: reading its images, and the forward pass."""
    usual = statistics.median_low(seconds)
    return [rank for rank, own in enumerate(seconds) if own > SLOW * usual and own - usual > SLOW_SECONDS]
