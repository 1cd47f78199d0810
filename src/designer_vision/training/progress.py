"""What a person sees of a training: log lines, a bar on a terminal, and the result."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import Progress as Bars

from designer_vision.runtime.console import clock, say
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.results import EpochResult, IterationLog, TrainingResult


class Progress:
    """Prints on the main rank; its bar stands on a terminal's standard error only."""

    def __init__(self, epochs: int, images: int, ranks: Ranks) -> None:
        self._epochs = epochs
        visible = ranks.is_main and sys.stderr.isatty()
        self._bars = Bars(console=Console(stderr=True), disable=not visible, transient=True)
        self._bar = self._bars.add_task("training", total=epochs * -(-images // ranks.world_size))

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def step(self, images: int) -> None:
        """Advance the bar."""
        self._bars.advance(self._bar, images)

    def iteration(self, at: IterationLog) -> None:
        """One line every print_frequency iterations."""
        say(
            f"epoch {at.epoch}/{self._epochs} iteration {at.iteration}/{at.iterations} | "
            f"{at.images_per_second:.1f} images/s | loss {at.loss:.4f} | error {at.error:.4f} | "
            f"learning rate {at.learning_rate:.3g} | {clock(at.seconds_left)} left"
        )

    def epoch(self, epoch: EpochResult) -> None:
        """One line an epoch."""
        say(
            f"epoch {epoch.number}/{self._epochs} | {epoch.images_per_second:.1f} images/s | "
            f"train loss {epoch.training.loss:.4f} | valid loss {epoch.validation.loss:.4f} | "
            f"top-1 {epoch.validation.top1:.4f} | top-5 {epoch.validation.top5:.4f}"
        )

    def slow_rank(self, rank: int, seconds: float, usual: float) -> None:
        """One line for a rank that all others wait for."""
        say(
            f"warning: rank {rank} is slow: it took {seconds:.1f} s of this epoch to read its images and compute on them, others "
            f"{usual:.1f} s; all wait for it"
        )

    def result(self, result: TrainingResult, parameters: Parameters, folder: Path) -> None:
        """The last line."""
        if len(result.history) < parameters.epochs:
            say(f"stopped after epoch {len(result.history)}: no lower validation loss in {parameters.patience} epochs")
        best, seconds = result.best, sum(epoch.spent.total for epoch in result.history)
        say(
            f"kept epoch {best.number}/{len(result.history)} | valid loss {best.validation.loss:.4f} | "
            f"top-1 {best.validation.top1:.4f} | top-5 {best.validation.top5:.4f} | {clock(seconds)} | {folder}"
        )
