"""How long a loop waits for its loader, whose batches pass through here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waited(Generic[T]):
    """A loader, and in `seconds` what was waited for it since the beginning."""

    def __init__(self, loader: Iterable[T]) -> None:
        self._loader, self.seconds = loader, 0.0

    def __iter__(self) -> Iterator[T]:
        begin = time.perf_counter()
        for batch in self._loader:
            self.seconds += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()
