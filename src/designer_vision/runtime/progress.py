"""How far a component is with its images: a log line every few seconds, always with the same fields."""

from __future__ import annotations

import time
from collections.abc import Callable

from designer_vision.runtime.console import clock, say

SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """Counts the images that are done, and says how fast they come and how long the others will take.

    Args:
        images: how many there are.
        clock: seconds since any moment.
    """

    def __init__(self, images: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._images, self._done, self._clock = images, 0, clock
        self._start = self._told = clock()

    def step(self, images: int = 1) -> None:
        """So many more are done."""
        self._done += images
        if self._clock() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = self._clock()
            self._tell(self.images_per_second())

    def images_per_second(self) -> float:
        """Since the start."""
        return self._done / (self._clock() - self._start)

    def _tell(self, speed: float) -> None:
        left = (self._images - self._done) / speed
        say(f"{self._done}/{self._images} images | {speed:.1f} images/s | {clock(left)} left")
