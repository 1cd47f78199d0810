"""Images that were decoded once, in memory that all processes of a machine share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from designer_vision.runtime.machine import memory_file

Sizes = npt.NDArray[np.integer[Any]]
NO_SUCH_IMAGE = 2**36
"""Pixels. A list can claim any size; a sum of claims must not overflow."""
STATE = np.dtype((np.int32, 2))
"""What is noted of each image once it is there: its height and its width."""


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
                memory = stack.enter_context(memory_file(STATE.itemsize * fitting + int(ends[fitting - 1])))
                said = f"{fitting} {memory}"
        count, _, path = tell(said).partition(" ")
        cache = None
        if path:
            with suppress(OSError):  # a process that may not look into the first one's memory reads its images anew
                cache = PixelCache(Path(path), ends[: int(count)])
        yield cache


class PixelCache:
    """Pixels by number, written by whichever process decodes an image first and read by all.

    An image's size is written behind its pixels and read before them, each by a system call: the kernel keeps these in order
    between processes on any processor, so that a reader never sees half an image.

    Args:
        memory: a file in memory with room for the sizes and the pixels, zeros at first.
        ends: the byte where each image's pixels end, for at least one image.
    """

    def __init__(self, memory: Path, ends: npt.NDArray[np.int64]) -> None:
        self._memory, self._ends = memory, ends
        self._file = memory.open("r+b", buffering=0)
        self._start = STATE.itemsize * len(ends)
        self._pixels = np.memmap(self._file, np.uint8, "r+", offset=self._start, shape=int(ends[-1]))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """In bytes, when it is full."""
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[type[PixelCache], tuple[Path, npt.NDArray[np.int64]]]:
        return PixelCache, (self._memory, self._ends)  # a worker that is not forked maps the same memory

    def __contains__(self, index: int) -> bool:
        return self._size_of(index) is not None

    def get(self, index: int) -> Tensor | None:
        """The image as it was put, uint8 [3, height, width], not to be changed; None if it was not."""
        if (size := self._size_of(index)) is None:
            return None
        start, (height, width) = self._begin(index), size
        return torch.from_numpy(self._pixels[start : start + 3 * height * width].reshape(height, width, 3)).permute(2, 0, 1)

    def put(self, index: int, image: Tensor) -> None:
        """Keep an image, uint8 [3, height, width], if it has a place and fits it, and there is memory for it."""
        if index >= len(self._ends) or image.numel() > self._ends[index] - (start := self._begin(index)) or index in self:
            return
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        with suppress(OSError):
            if os.pwrite(self._file.fileno(), pixels.data, self._start + start) == image.numel():
                os.pwrite(self._file.fileno(), np.array(image.shape[1:], np.int32).tobytes(), STATE.itemsize * index)

    def _begin(self, index: int) -> int:
        return int(self._ends[index - 1]) if index else 0

    def _size_of(self, index: int) -> tuple[int, int] | None:
        if index >= len(self._ends):
            return None
        height, width = np.frombuffer(os.pread(self._file.fileno(), STATE.itemsize, STATE.itemsize * index), np.int32)
        return (int(height), int(width)) if height else None
