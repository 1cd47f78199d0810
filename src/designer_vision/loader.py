"""From rows to batches: which image goes where in an epoch, and the workers that decode them."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from designer_vision import images
from designer_vision.cache import PixelCache
from designer_vision.errors import DataWorkerError, DesignerError, InvalidDatasetError
from designer_vision.machine import end_with
from designer_vision.transforms import Operation, Size, check_size, compose

PREFETCHED = 2
"""Batches that a worker decodes ahead."""
BATCH_OVERHEAD, WORKER_OVERHEAD = 2 * 4096, 8 * 4096
"""Of shared memory, in bytes: the labels and the rest of a page; the semaphores of a worker's queues."""
NOTHING = -1
WORKERS_A_CPU = 4
"""At most, whatever the operator asks for."""
WORKER_LOST = re.compile("worker|timed out", re.IGNORECASE)

Indices = npt.NDArray[np.int64]


# The order of an epoch: pure functions


def epoch_order(images: int, seed: int, epoch: int) -> Indices:
    """The images of an epoch in random order, the same on every rank: a permutation of range(images)."""
    return np.random.default_rng((seed, epoch)).permutation(images)


def shard(order: Indices, rank: int, world_size: int) -> Indices:
    """This rank's part of an epoch: every world_size-th image, padded from the start so that ranks get equally many."""
    padding = -len(order) % world_size
    return np.concatenate([order, np.resize(order, padding)])[rank::world_size]


def batches(indices: Indices, batch_size: int) -> list[Indices]:
    """ceil(n / batch_size) batches of nearly equal size; one less where one would have a single image (3, by twos)."""
    count = -(-len(indices) // batch_size)
    if batch_size > 1:
        count = min(count, max(1, len(indices) // 2))
    return np.array_split(indices, count) if len(indices) else []


def remaining(order: Indices, legs: Sequence[tuple[int, int]], batch_size: int) -> Indices:
    """What is left of an epoch, in order, after it was trained for some steps, on changing numbers of ranks.

    Args:
        order: of the whole epoch.
        legs: number of ranks and steps, one after the other.
        batch_size: of each rank.
    """
    for world_size, steps in legs:
        taken = [batch for rank in range(world_size) for batch in batches(shard(order, rank, world_size), batch_size)[:steps]]
        if taken:
            order = order[~np.isin(order, np.concatenate(taken))]
    return order


# The data


class ImageSource(Protocol):
    """What a dataset needs to know of a list of images; directories.ImageIndex is one."""

    @property
    def labels(self) -> npt.NDArray[np.int32]: ...

    def __len__(self) -> int: ...

    def path(self, index: int) -> Path: ...

    def read(self, index: int) -> bytes: ...


@dataclass(frozen=True)
class Batch:
    """Some images as the workers hand them over.

    Attributes:
        images: uint8 [n, 3, height, width], channels last in memory.
        labels: int64 [n].
        unreadable: index to what is wrong, of the images that are left out.
    """

    images: Tensor
    labels: Tensor
    unreadable: Mapping[int, DesignerError] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """For DataLoader: copies to the GPU can then run beside its work."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class ImageDataset(Dataset[Tensor]):
    """Decodes images, prepares them for the network and applies the random operations.

    Items are asked for as (epoch, index) in lists, a batch at a time. Random operations are drawn from (seed, epoch,
    index), so that an image looks the same whichever worker or rank reads it.

    Args:
        source: the images and their labels.
        prepare: what every image goes through, uint8 [3, height, width] to the same.
        size: height and width that each image must have in the end.
        random_operations: drawn anew for each epoch.
        seed: of the random operations.
        cache: keeps images from one epoch to the next, as they are before the random operations.
        strict: whether an image that cannot be read ends the epoch; otherwise it is left out of its batch.
    """

    def __init__(
        self,
        source: ImageSource,
        prepare: Callable[[Tensor], Tensor],
        size: Size,
        random_operations: Sequence[Operation] = (),
        seed: int = 0,
        cache: PixelCache | None = None,
        strict: bool = True,
    ) -> None:
        self.cache = cache
        self._strict = strict
        self.reading: Any = None
        self._source = source
        self._prepare = prepare
        self._size = size
        self._randomly = compose(random_operations) if random_operations else None
        self._seed = seed
        self._labels = torch.from_numpy(source.labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, item: tuple[int, int]) -> Tensor:
        """One image, uint8 [3, height, width]."""
        epoch, index = item
        try:
            image = self._prepared(index, epoch)
            if self._randomly is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.default_generator.manual_seed(_seed_of(self._seed, epoch, index))
                    image = self._randomly(image)
            check_size(image, self._size)
        except (ValueError, RuntimeError, TypeError) as error:
            raise InvalidDatasetError(
                f"{self._source.path(index)} does not fit: {error}; "
                "give all images one size with Init and Apply Image Transformation"
            ) from error
        return image

    def _prepared(self, index: int, epoch: int) -> Tensor:
        """An image as it is before the random operations, decoded unless the cache has it."""
        if self.cache is not None and (kept := self.cache.get(index, epoch)) is not None:
            return kept
        path = self._source.path(index)
        image = self._prepare(torch.from_numpy(images.decode(self._source.read(index), path)).permute(2, 0, 1))
        if self.cache is not None:
            self.cache.put(index, epoch, image)
        return image

    def __getitems__(self, items: list[tuple[int, int]]) -> Batch | DesignerError:
        """One batch. A user's error is returned, not raised: raising across processes would lose its type."""
        pixels, read, unreadable = [], [], {}
        for item in items:
            try:
                pixels.append(self._noted(item).permute(1, 2, 0))
            except DesignerError as error:
                if self._strict:
                    return error
                unreadable[item[1]] = error
            else:
                read.append(item[1])
        stacked = torch.stack(pixels) if pixels else torch.empty(0, *self._size, 3, dtype=torch.uint8)
        return Batch(stacked.permute(0, 3, 1, 2), self._labels[read], unreadable)

    def _noted(self, item: tuple[int, int]) -> Tensor:
        """One image; while it is read, its number is where the training process can see it, should this worker end."""
        worker = get_worker_info()
        if self.reading is None or worker is None:
            return self[item]
        self.reading[worker.id] = item[1]
        try:
            return self[item]
        finally:
            self.reading[worker.id] = NOTHING

    def path(self, index: int) -> Path:
        return self._source.path(index)


def _seed_of(seed: int, epoch: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def worker_count(cpus: int, local_world_size: int, device: torch.device, forced: int | None = None) -> int:
    """Data workers of one process: the operator's number within reason, else its share of the CPUs; one where they also train."""
    if forced is not None:
        return min(forced, WORKERS_A_CPU * cpus)
    share = max(1, cpus // local_world_size)
    return 1 if device.type == "cpu" else min(share, 16)


def workers_that_fit(workers: int, batch_bytes: int, room: int) -> int:
    """As many workers as have room in shared memory for the batches they hand over.

    Args:
        workers: that are wanted.
        batch_bytes: of one batch.
        room: bytes of shared memory for this process.
    """
    batch = batch_bytes + BATCH_OVERHEAD
    return max(0, min(workers, (room - batch) // ((PREFETCHED + 1) * batch + WORKER_OVERHEAD)))


class Loader:
    """Batches of a dataset, decoded ahead by workers that live as long as the loader.

    The workers start with the loader: forked later, when a training's memory has grown, each would make its parent copy all
    of that memory again at the next step.

    Iterate `epoch(number, batches)`, where the batches are lists of indices.

    Args:
        dataset: that the batches are of.
        workers: processes that decode; with 0 it happens in this one.
        device: that the batches go to.
        patience: how long a batch may take.
    """

    def __init__(
        self, dataset: ImageDataset, workers: int, device: torch.device, patience: timedelta = timedelta(minutes=5)
    ) -> None:
        self._dataset, self._patience = dataset, patience.total_seconds()
        self._sampler = _Batches()
        if workers:
            dataset.reading = multiprocessing.RawArray("q", [NOTHING] * workers)
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCHED if workers else None,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            worker_init_fn=_Worker(os.getpid()),
            timeout=self._patience if workers else 0,
        )
        try:
            iter(self._loader)  # of no batches yet
        except OSError as error:
            raise DataWorkerError(
                f"{workers} data workers cannot be started: {error.strerror}; allow more processes and open files (ulimit -u, "
                "ulimit -n), or set DESIGNER_VISION_DATA_WORKERS lower"
            ) from error

    def epoch(self, number: int, batches: Sequence[Indices]) -> Iterator[Batch]:
        """The batches in order.

        Raises:
            DesignerError: what a worker found wrong with an image.
            DataWorkerError: a worker ended or does not answer; with the images that were being read.
        """
        self._sampler.items = [[(number, int(index)) for index in batch] for batch in batches]
        coming = iter(self._loader)
        while True:
            try:
                batch = next(coming, None)
            except (RuntimeError, OSError, EOFError) as error:  # what DataLoader has for a worker that is gone or silent
                if isinstance(error, RuntimeError) and not WORKER_LOST.search(str(error)):
                    raise
                raise self.lost(str(error) or "it hung up.") from error
            if batch is None:
                return
            if isinstance(batch, DesignerError):
                raise batch
            yield batch

    def lost(self, reason: str) -> DataWorkerError:
        """What is said of a worker that is gone or silent, with the images that were being read."""
        numbers = [index for index in self._dataset.reading or () if index != NOTHING]
        images = f" while reading {', '.join(str(self._dataset.path(index)) for index in numbers[:3])}" if numbers else ""
        if "timed out" in reason:
            return DataWorkerError(f"a data worker has not answered for {self._patience:.0f} s{images}; see to the storage")
        return DataWorkerError(
            f"a data worker ended{images}: {reason.splitlines()[0]} This is often for lack of memory, or of shared memory (set "
            "shm_size in the node's resources)"
        )


class _Batches:
    """The batches of the epoch to come; DataLoader asks again at each epoch's start."""

    def __init__(self) -> None:
        self.items: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class _Worker:
    """What a worker does first: tie its life to the process that started it, and leave that one's process group.

    A signal to a job goes to its whole group, and the training needs its workers until it has stopped in order.
    """

    parent: int

    def __call__(self, worker: int) -> None:
        end_with(self.parent)
        if multiprocessing.get_start_method() == "fork" and os.getppid() != self.parent:
            os._exit(1)  # it was killed before it could be watched, and nobody else would ever end this worker
        os.setpgid(0, 0)


def _as_it_is(batch: Any) -> Any:
    return batch
