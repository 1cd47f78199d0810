"""The images of one or two folders under one numbering: first those that are cleaned, then those that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_index import NO_LABEL, ImageIndex

ReadRow = Callable[[int], bytes]
"""Gives the bytes of an image by its row in the pool."""


@dataclass(frozen=True)
class Pool:
    """Some images, and perhaps others that they are compared with.

    Attributes:
        images: rows 0 to `own`.
        others: the rows from `own` on.
    """

    images: ImageIndex
    others: ImageIndex | None = None

    @property
    def own(self) -> int:
        return len(self.images)

    def __len__(self) -> int:
        return self.own + (len(self.others) if self.others else 0)

    def place(self, row: int) -> tuple[ImageIndex, int]:
        """The folder of a row, and its number there."""
        if row < self.own:
            return self.images, row
        assert self.others is not None
        return self.others, row - self.own

    def name(self, row: int) -> str:
        """What the person called an image."""
        index, number = self.place(row)
        return index.name(number)

    def path(self, row: int) -> Path:
        index, number = self.place(row)
        return index.path(number)

    def label(self, row: int) -> str | None:
        index, number = self.place(row)
        label = int(index.labels[number])
        return None if label == NO_LABEL else index.classes[label]

    @contextmanager
    def reading(self, rows: list[int]) -> Iterator[ReadRow]:
        """A way to read images that are wanted in about this order, those of a mount ahead."""
        with ExitStack() as stack:
            own = stack.enter_context(reading(self.images, [row for row in rows if row < self.own]))
            if self.others is None:
                yield own
                return
            others = stack.enter_context(reading(self.others, [row - self.own for row in rows if row >= self.own]))
            yield lambda row: own(row) if row < self.own else others(row - self.own)
