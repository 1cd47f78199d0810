"""Sums over the iterations of an epoch: kept on the device, read over all ranks now and then."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from designer_vision.runtime.errors import TrainingDivergedError
from designer_vision.training.metrics import LOSS, Averages, add_to_totals, averages, new_totals
from designer_vision.training.ranks import Ranks
from designer_vision.training.state import MeterState


class ThroughputMeter:
    """Sums over the iterations of an epoch; read at print_frequency and at the end, when it asks the other ranks."""

    def __init__(self, ranks: Ranks, device: torch.device, epoch: int) -> None:
        self._ranks, self._epoch = ranks, epoch
        self._stretch, self._whole = new_totals(device), new_totals(torch.device("cpu"))
        self._first_not_finite = torch.full((), torch.inf, dtype=torch.float64, device=device)
        self._start = self._stretch_start = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """All ranks' sums; every rank must ask.

        Raises:
            TrainingDivergedError: a loss was not finite: nobody shall go on from here.
        """
        stretches = self._ranks.all_gather(self._stretch)
        if not stretches.isfinite().all():
            self._raise_diverged()
        now = time.perf_counter()
        seconds, stretch_seconds = self._stretch_start - self._start, now - self._stretch_start
        return {"whole": self._whole, "stretches": stretches, "seconds": seconds, "stretch_seconds": stretch_seconds}

    def load(self, state: MeterState) -> None:
        """Go on from what `state` gave, on as many ranks or on another number of them."""
        self._whole = state.whole
        now = time.perf_counter()
        self._start = now - state.stretch_seconds - state.seconds
        if len(state.stretches) == self._ranks.world_size:
            self._stretch = state.stretches[self._ranks.rank].to(self._stretch.device)
            self._stretch_start = now - state.stretch_seconds
        else:
            self._whole = self._whole + state.stretches.sum(dim=0)
            self._stretch_start = now  # with its images, its seconds are no longer of this stretch

    def add(self, iteration: int, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch on the device."""
        add_to_totals(self._stretch, logits, labels, loss)
        here = torch.full_like(self._first_not_finite, iteration).masked_fill_(loss.isfinite(), torch.inf)
        self._first_not_finite = torch.minimum(self._first_not_finite, here)

    def read(self) -> tuple[Averages, float]:
        """Averages and images/s since the last call, over all ranks.

        Raises:
            TrainingDivergedError: a loss was not finite, on whichever rank.
        """
        totals = self._ranks.all_reduce_sum(self._stretch)
        if not totals[LOSS].isfinite():  # the sum is the same on every rank, so all of them come in here together
            self._raise_diverged()
        self._whole = self._whole + totals
        stretch = averages(totals)
        self._stretch = torch.zeros_like(self._stretch)
        now = time.perf_counter()
        seconds, self._stretch_start = now - self._stretch_start, now
        return stretch, stretch.seen / seconds

    def _raise_diverged(self) -> None:
        first = int(self._ranks.all_reduce_min(self._first_not_finite))
        raise TrainingDivergedError(
            f"the training loss became NaN or infinite at epoch {self._epoch}, iteration {first}; "
            "choose a lower learning_rate or a longer warmup_step_number"
        )

    def epoch_averages(self) -> Averages:
        return averages(self._whole)

    def images_per_second(self) -> float:
        return self.epoch_averages().seen / (self._stretch_start - self._start)

    def seconds_per_iteration(self, iterations: int) -> float:
        return (self._stretch_start - self._start) / iterations
