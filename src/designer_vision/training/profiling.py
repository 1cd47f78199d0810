"""A trace of some training steps by torch's profiler, and in a paragraph what they waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from designer_vision.runtime.console import best_effort, say

STEPS, FIRST = 20, 10
"""How many steps are traced, and before which one nothing is: memory and kernels are not settled then."""
TRACE, VERDICT = "trace.json.gz", "verdict.txt"
MUCH_WAITING, BUSY = 0.1, 0.7
"""Shares of the time: what waits for images more than this, and a GPU that computes less than this, could do more."""


@dataclass(frozen=True)
class Reading:
    """What an image costs before it is prepared: seconds to read its file, and to decode it."""

    read: float
    decode: float


@dataclass
class Traced:
    """The sums over the traced steps: seconds of the main process, and of its GPU, where it has one."""

    steps: int = 0
    images: int = 0
    waiting: float = 0.0
    computing: float = 0.0
    gpu: float | None = None

    def add(self, images: int, waited: float, computed: float) -> None:
        self.steps, self.images = self.steps + 1, self.images + images
        self.waiting, self.computing = self.waiting + waited, self.computing + computed

    def until(self, seconds: float) -> None:
        """Where there is a GPU, what was not waiting: the main process is ahead of it, and its own seconds tell little."""
        if self.gpu is not None:
            self.computing = max(0.0, seconds - self.waiting)

    @property
    def seconds(self) -> float:
        return self.waiting + self.computing


class Profile:
    """Traces steps of an epoch on the main process; call `step` after each.

    Args:
        folder: for the trace and the verdict; made when they are written.
        device: that the network computes on.
        steps: of the epoch; of a short one fewer are traced.
        probe: looks how fast some images are read.
    """

    def __init__(self, folder: Path, device: torch.device, steps: int, probe: Callable[[], Reading]) -> None:
        self._folder, self._probe = folder, probe
        self._begin = min(FIRST, steps // 3)
        self._end = min(self._begin + STEPS, steps)
        self._done, self._traced = 0, Traced(gpu=0.0 if device.type == "cuda" else None)
        gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
        self._profiler = profile(activities=[ProfilerActivity.CPU, *gpu])
        if self._begin == 0:
            self._start()

    def step(self, images: int, waited: float, computed: float) -> None:
        """Count a step, and begin or end the trace where it is time."""
        self._done += 1
        if self._begin < self._done <= self._end:
            self._traced.add(images, waited, computed)
        if self._done == self._begin:
            self._start()
        elif self._done == self._end:
            with best_effort("the profile"):
                self._traced.until(self._settled() - self._started)
                self._profiler.stop()
                self._write()

    def _start(self) -> None:
        self._started = self._settled()
        self._profiler.start()

    def _settled(self) -> float:
        """The time when a GPU has done what it was given so far."""
        if self._traced.gpu is not None:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _write(self) -> None:
        if self._traced.gpu is not None:
            events = self._profiler.key_averages()  # an operator's own event has its kernels' time once more
            kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
            self._traced.gpu = sum(event.self_device_time_total for event in kernels) / 1e6
        self._folder.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self._folder / TRACE))
        said = verdict(self._traced, self._probe())
        (self._folder / VERDICT).write_text(said + "\n")
        say(f"profile: {said} The trace is {self._folder / TRACE}; open it in https://ui.perfetto.dev")


def verdict(traced: Traced, reading: Reading) -> str:
    """What the steps waited for, and what could be done about it."""
    waiting = traced.waiting / traced.seconds
    said = [
        f"{traced.steps} steps of {traced.images / traced.steps:.0f} images took {traced.seconds:.2f} s "
        f"({traced.images / traced.seconds:.1f} images/s); {waiting:.0%} of that was spent waiting for images.",
        f"A file is read in {1000 * reading.read:.2f} ms and decoded in {1000 * reading.decode:.2f} ms.",
    ]
    busy = None if traced.gpu is None else min(1.0, traced.gpu / traced.seconds)  # its copies run beside its kernels
    if busy is not None:
        said.append(f"The GPU computed {busy:.0%} of the time.")
    if busy is not None and busy >= BUSY:  # whatever was waited for: the main process is ahead of it
        return " ".join([*said, "It is busy: only more GPUs or a smaller network would be faster."])
    if waiting > MUCH_WAITING and reading.read > reading.decode:
        return " ".join([*said, "The disk is slow: copy the images to the node, or let its mount cache them."])
    if waiting > MUCH_WAITING:
        return " ".join(
            [*said, "Decoding is the bottleneck: more CPU cores, or smaller images from Apply Image Transformation, would help."]
        )
    if busy is None:
        return " ".join([*said, "The network's computation is the bottleneck: a GPU, more cores or a smaller network helps."])
    return " ".join([*said, "The batches are small for it: try a larger batch_size, or DESIGNER_VISION_COMPILE=1."])
