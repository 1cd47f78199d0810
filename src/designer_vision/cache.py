"""Images that were decoded once, in memory that all processes of a machine share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from designer_vision.machine import memory_file

Sizes = npt.NDArray[np.integer[Any]]
NO_SUCH_IMAGE = 2**36
"""Pixels. A list can claim any size; a sum of claims must not overflow."""
STATE = 3
"""What is noted of each image: the epoch that wrote it (0 before), its height and its width."""


@contextmanager
def shared_cache(sizes: Sizes, budget: int, is_first: bool, tell: Callable[[str], str]) -> Iterator[PixelCache | None]:
    """A cache for as many of the first images as fit; None where none fits or this system cannot share memory.

    Args:
        sizes: height and width of each image, [n, 2], the same in every process.
        budget: in bytes; what the first process of this machine says counts.
        is_first: whether this is that process; it makes the memory.
        tell: gives every process of the machine what the first one puts in.
    """
    ends = np.cumsum(np.minimum(sizes.astype(np.int64).prod(axis=1), NO_SUCH_IMAGE) * 3)
    with ExitStack() as stack:
        said = ""
        if is_first and (fitting := int(np.searchsorted(ends, budget, side="right"))):
            with suppress(OSError):
                memory = stack.enter_context(memory_file(STATE * 4 * fitting + int(ends[fitting - 1])))
                said = f"{fitting} {memory}"
        count, _, path = tell(said).partition(" ")
        cache = None
        if path:
            with suppress(OSError):  # a process that may not look into the first one's memory reads its images anew
                cache = PixelCache(Path(path), ends[: int(count)])
        yield cache


class PixelCache:
    """Pixels by number, written by whichever process decodes an image first and read by all.

    An image is given out only in an epoch after the one that wrote it: in between the processes have waited for each
    other, so that a reader never sees half an image, on any processor.

    Args:
        memory: a file in memory with room for the state and the pixels, zeros at first.
        ends: the byte where each image's pixels end, for at least one image.
    """

    def __init__(self, memory: Path, ends: npt.NDArray[np.int64]) -> None:
        self._memory, self._ends = memory, ends
        self._state = np.memmap(memory, np.int32, "r+", shape=(len(ends), STATE))
        self._pixels = np.memmap(memory, np.uint8, "r+", offset=self._state.nbytes, shape=int(ends[-1]))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """In bytes, when it is full."""
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[type[PixelCache], tuple[Path, npt.NDArray[np.int64]]]:
        return PixelCache, (self._memory, self._ends)  # a worker that is not forked maps the same memory

    def get(self, index: int, epoch: int) -> Tensor | None:
        """The image as it was put in an earlier epoch, uint8 [3, height, width], not to be changed; None if it was not."""
        if index >= len(self._ends):
            return None
        written, height, width = (int(value) for value in self._state[index])
        if not 0 < written < epoch:
            return None
        return torch.from_numpy(self._place(index)[: 3 * height * width].reshape(height, width, 3)).permute(2, 0, 1)

    def put(self, index: int, epoch: int, image: Tensor) -> None:
        """Keep an image, uint8 [3, height, width], if it has a place and fits it."""
        if index >= len(self._ends) or image.numel() > len(place := self._place(index)):
            return
        place[: image.numel()] = image.permute(1, 2, 0).numpy().reshape(-1)
        self._state[index] = epoch, *image.shape[1:]

    def _place(self, index: int) -> npt.NDArray[np.uint8]:
        return self._pixels[self._ends[index - 1] if index else 0 : self._ends[index]]
