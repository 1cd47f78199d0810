"""The order of an epoch: which image goes into which batch of which rank, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def epoch_order(images: int, seed: int, epoch: int) -> Indices:
    """The images of an epoch in random order, the same on every rank: a permutation of range(images)."""
    return np.random.default_rng((seed, epoch)).permutation(images)


def shard(order: Indices, rank: int, world_size: int) -> Indices:
    """This rank's part of an epoch: every world_size-th image, padded from the start so that ranks get equally many."""
    padding = -len(order) % world_size
    return np.concatenate([order, np.resize(order, padding)])[rank::world_size]


def batches(indices: Indices, batch_size: int) -> list[Indices]:
    """ceil(n / batch_size) batches of one size, which a GPU prepares for once, and a shorter one at the end.

    The size is no larger than it must be for as many batches: 17 images by sixteens are 9 and 8. Where less than half a batch
    would be left, the last two share: batch norm learns little from a few images, and none can be alone (5 by twos are 2 and 3).
    """
    count = -(-len(indices) // batch_size)
    if batch_size > 1:
        count = min(count, max(1, len(indices) // 2))
    if count < 2:
        return [indices] if len(indices) else []
    size = min(batch_size, -(-len(indices) // count))
    ends = size * np.arange(1, count)
    left = len(indices) - ends[-1]
    if 2 * left < size:
        ends[-1] -= (size - left) // 2
    return np.split(indices, ends)


def remaining(order: Indices, segments: Sequence[tuple[int, int]], batch_size: int) -> Indices:
    """What is left of an epoch, in order, after it was trained for some steps, on changing numbers of ranks.

    Args:
        order: of the whole epoch.
        segments: number of ranks and steps, one after the other.
        batch_size: of each rank.
    """
    for world_size, steps in segments:
        taken = [batch for rank in range(world_size) for batch in batches(shard(order, rank, world_size), batch_size)[:steps]]
        if taken:
            order = order[~np.isin(order, np.concatenate(taken))]
    return order


@dataclass(frozen=True)
class Share:
    """One rank's part of a training.

    Attributes:
        images: to train on, in all.
        validated: images to validate with, in all.
        batch_size: of each rank.
        seed: of the order of every epoch.
        rank, world_size: which of how many ranks.
    """

    images: int
    validated: int
    batch_size: int
    seed: int
    rank: int
    world_size: int

    @property
    def new_epoch(self) -> list[tuple[int, int]]:
        """The segments of an epoch in which nothing is done yet."""
        return [(self.world_size, 0)]

    @property
    def steps_per_epoch(self) -> int:
        """Of an epoch on as many ranks from its first step to its last; the same on each."""
        return len(batches(shard(np.arange(self.images), self.rank, self.world_size), self.batch_size))

    def to_train(self, epoch: int, segments: Sequence[tuple[int, int]] | None = None) -> list[Indices]:
        """This rank's batches that an epoch has left after some segments, the last of them on the ranks of today."""
        *before, (world_size, done) = segments or self.new_epoch
        order = remaining(epoch_order(self.images, self.seed, epoch), before, self.batch_size)
        return batches(shard(order, self.rank, world_size), self.batch_size)[done:]

    def to_validate(self, rank: int | None = None) -> list[Indices]:
        """A rank's batches of the validation images, this one's unless said; each image is in one rank's."""
        first = self.rank if rank is None else rank
        return batches(np.arange(self.validated)[first :: self.world_size], self.batch_size)

    def images_done(self, epoch: int, segments: Sequence[tuple[int, int]]) -> int:
        """How many images all ranks have trained on in an epoch."""
        return self.images - len(remaining(epoch_order(self.images, self.seed, epoch), segments, self.batch_size))
