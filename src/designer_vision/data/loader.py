"""From rows to batches: which image goes where in an epoch, and the workers that decode them."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import accumulate, count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from designer_vision.data import images
from designer_vision.data.cache import PixelCache
from designer_vision.data.disk_cache import DiskCache
from designer_vision.data.read_ahead import Depth, Images, ReadAhead, Reserve, depth_for, not_read
from designer_vision.data.transforms import Operation, Prepare, Size, check_size, compose
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import DataWorkerError, DesignerError, InvalidDatasetError
from designer_vision.runtime.gpus import cpus_for_workers
from designer_vision.runtime.machine import die_with_parent, free_shared_memory, is_far, open_files_allowed

PREFETCHED = 2
"""Batches that a worker decodes ahead."""
BATCH_OVERHEAD, WORKER_OVERHEAD = 2 * 4096, 8 * 4096
"""Of shared memory, in bytes: the labels and the rest of a page; the semaphores of a worker's queues."""
NOTHING = -1
OWN_FILES, FILES_OF_A_WORKER = 48, 16
SHARE_OF_SHARED_MEMORY = 0.5
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


# The data


class ImageSource(Images, Protocol):
    """What a dataset needs to know of a list of images; formats.image_index.ImageIndex is one."""

    @property
    def labels(self) -> npt.NDArray[np.int32]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Asked:
    """A batch of the plan: which images of which dataset, as they are in an epoch.

    Attributes:
        epoch: that random operations are drawn for.
        indices: of the images.
        dataset: its number among the loader's.
    """

    epoch: int
    indices: Indices
    dataset: int = 0


@dataclass(frozen=True)
class Batch:
    """Some images as the workers hand them over.

    Attributes:
        images: uint8 [n, 3, height, width], channels last in memory.
        labels: int64 [n].
        asked: what they are.
        unreadable: index to what is wrong, of the images that are left out.
    """

    images: Tensor
    labels: Tensor
    asked: Asked
    unreadable: Mapping[int, DesignerError] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """For DataLoader: copies to the GPU can then run beside its work."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


def prepared(content: bytes, name: str | Path, prepare: Prepare) -> Tensor:
    """An image file decoded and prepared, uint8 [3, height, width]: in training, scoring and serving alike.

    Args:
        content: the bytes of the file.
        name: what an error calls it.
        prepare: what every image goes through.

    Raises:
        InvalidDatasetError: it is no image that can be read.
    """
    pixels, size = images.decode_to_resize(content, name, prepare.resized)
    return prepare(torch.from_numpy(pixels).permute(2, 0, 1), size)


class ImageDataset:
    """Decodes images, prepares them for the network and applies the random operations.

    Random operations are drawn from (seed, epoch, index), so that an image looks the same whichever worker or rank reads it.

    Args:
        source: the images and their labels.
        prepare: what every image goes through.
        size: height and width that each image must have in the end.
        random_operations: redrawn for each epoch.
        seed: of the random operations.
        cache: keeps images from one epoch to the next, as they are before the random operations.
        on_disk: keeps the files that the cache has no room for.
        strict: whether an image that cannot be read ends the epoch; otherwise it is left out of its batch.
    """

    def __init__(
        self,
        source: ImageSource,
        prepare: Prepare,
        size: Size,
        random_operations: Sequence[Operation] = (),
        seed: int = 0,
        cache: PixelCache | None = None,
        on_disk: DiskCache | None = None,
        strict: bool = True,
    ) -> None:
        self.strict = strict
        self.cache, self.on_disk = cache, on_disk
        self._source = source
        self._prepare = prepare
        self.size = size
        self._randomly = compose(random_operations) if random_operations else None
        self._seed = seed
        self._labels = torch.from_numpy(source.labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._source)

    @property
    def folder(self) -> Path:
        return self._source.folder

    def path(self, index: int) -> Path:
        """The path of an image, to name it by."""
        return self._source.path(index)

    def content(self, index: int, reserve: Reserve | None = None) -> bytes | None:
        """The bytes of an image's file; None where it is in memory once decoded.

        Args:
            index: of the image.
            reserve: told how many bytes there are, before they are read from far.

        Raises:
            DesignerError: it cannot be read.
        """
        if self.cache is not None and index in self.cache:
            return None
        if self.on_disk is None or (self.cache is not None and index < len(self.cache)):
            return self._source.read(index, reserve)
        content = self.on_disk.get(index)
        if content is None:
            content = self._source.read(index, reserve)
            self.on_disk.put(index, content)
        elif reserve is not None:
            reserve(len(content))
        return content

    def image(self, epoch: int, index: int, content: Callable[[], bytes | None] | None = None) -> Tensor:
        """One image, uint8 [3, height, width].

        Args:
            epoch: that random operations are drawn for.
            index: of the image.
            content: gives what `self.content(index)` does, which has perhaps been fetched.

        Raises:
            DesignerError: it cannot be read, or does not fit.
        """
        try:
            image = self._prepared(index, content() if content else self.content(index))
            if self._randomly is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.default_generator.manual_seed(_seed_of(self._seed, epoch, index))
                    image = self._randomly(image)
            check_size(image, self.size)
        except (ValueError, RuntimeError, TypeError) as error:
            raise InvalidDatasetError(
                f"{self._source.path(index)} does not fit: {error}; "
                "give all images one size with Init and Apply Image Transformation"
            ) from error
        return image

    def _prepared(self, index: int, content: bytes | None) -> Tensor:
        """An image as it is before the random operations, decoded unless the cache has it."""
        if self.cache is not None and (kept := self.cache.get(index)) is not None:
            return kept
        assert content is not None
        image = prepared(content, self._source.path(index), self._prepare)
        if self.cache is not None:
            self.cache.put(index, image)
        return image

    def batch(self, asked: Asked, pixels: Sequence[Tensor], unreadable: Mapping[int, DesignerError]) -> Batch:
        """The images that were asked for as one batch, without those that cannot be read."""
        read = [index for index in asked.indices.tolist() if index not in unreadable]
        channels_last = [image.permute(1, 2, 0) for image in pixels]
        stacked = torch.stack(channels_last) if pixels else torch.empty(0, *self.size, 3, dtype=torch.uint8)
        return Batch(stacked.permute(0, 3, 1, 2), self._labels[read], asked, unreadable)


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


def shared_memory_for_batches(local_world_size: int = 1) -> int:
    """Bytes of shared memory that each of this node's processes may use; very many where there is no such place."""
    room = free_shared_memory()
    return sys.maxsize if room is None else int(room * SHARE_OF_SHARED_MEMORY) // local_world_size


def workers_within_limits(wanted: int, batch_bytes: int, local_world_size: int = 1, is_told: bool = True) -> int:
    """As many of the data workers of a process as the system has shared memory and open files for.

    Args:
        wanted: workers.
        batch_bytes: of one batch.
        local_world_size: processes of this node that have as many.
        is_told: whether it is said where they are fewer.
    """
    room, files = shared_memory_for_batches(local_world_size), open_files_allowed()
    workers = workers_that_fit(wanted, batch_bytes, room)
    workers = max(0, min(workers, (files - OWN_FILES) // FILES_OF_A_WORKER))
    if workers < wanted and is_told:
        memory = f"{room / 1e6:.1f} MB of shared memory (more with shm_size in the node's resources) and "
        limits = f"{memory if room < sys.maxsize else ''}{files} open files (ulimit -n)"
        say(f"warning: {workers} of {wanted} data workers a process fit into {limits}")
    return workers


@dataclass(frozen=True)
class Request:
    """What a worker is sent: the batch to decode, those whose files it shall begin to fetch, and whether a plan begins."""

    asked: Asked
    ahead: Sequence[Asked]
    is_first: bool


def requests(plan: Iterable[Asked], workers: int, batches_ahead: int) -> Iterator[Request]:
    """Each batch of a plan, and with it what its worker is told of the batches that it will get.

    DataLoader deals batches out in turn. With its first batch a worker is told of its next ones; then, with each, of one more.

    Args:
        plan: batches in their order; asked for no earlier than it must be.
        workers: that share them.
        batches_ahead: that a worker knows of, besides the one that it is sent.
    """
    plan = iter(plan)
    distance = batches_ahead * workers
    coming = deque(islice(plan, distance))
    for position in count():
        coming.extend(islice(plan, 1))
        if not coming:
            return
        is_first = position < workers
        told = islice(coming, 0 if is_first else distance, None, workers)
        yield Request(coming[0], tuple(told), is_first)
        coming.popleft()


class Loader:
    """Batches of some datasets, decoded ahead by workers that live as long as the loader.

    The workers start with the loader: forked later, when a training's memory has grown, each would make its parent copy all
    of that memory again at the next step. They go through a plan that may hold several epochs and datasets: while the last
    batches of one epoch are used, the first ones of what follows are decoded. Files that are far are fetched ahead of that.

    Iterate `batches(plan)`.

    Args:
        datasets: that batches are of.
        workers: processes that decode; with 0 it happens in this one.
        device: that the batches go to.
        patience: how long a batch may take.
        batch_size: usual number of images of a batch.
        processes: of this node that have such a loader.
    """

    def __init__(
        self,
        datasets: Sequence[ImageDataset],
        workers: int,
        device: torch.device,
        patience: timedelta = timedelta(minutes=5),
        batch_size: int = 32,
        processes: int = 1,
    ) -> None:
        self._patience, self._workers = patience.total_seconds(), workers
        far = [is_far(dataset.folder) for dataset in datasets]
        depth = depth_for(processes * max(1, workers))
        self._batches_ahead = -(-2 * depth.threads // batch_size) if any(far) else 0
        self._reader = _Reader(datasets, workers, depth, far, self._patience)
        self._plan = _Plan()
        self._loader: DataLoader[Any] = DataLoader(
            self._reader,
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCHED if workers else None,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            worker_init_fn=_Worker(os.getpid(), cpus_for_workers(device, workers, processes)),
            timeout=self._patience if workers else 0,
        )
        try:
            iter(self._loader)  # of no batches yet
        except OSError as error:
            raise DataWorkerError(
                f"{workers} data workers cannot be started: {error.strerror}; allow more processes and open files (ulimit -u, "
                "ulimit -n), or set DESIGNER_VISION_DATA_WORKERS lower"
            ) from error

    def batches(self, plan: Iterable[Asked]) -> Iterator[Batch]:
        """The batches of a plan in its order; what is left of an earlier plan is thrown away.

        Raises:
            DesignerError: what a worker found wrong with an image.
            DataWorkerError: a worker ended or does not answer; with the images that were being read.
        """
        self._plan.requests = requests(plan, max(1, self._workers), self._batches_ahead)
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
        names = self._reader.being_read()
        images = f" while reading {', '.join(map(str, names[:3]))}" if names else ""
        if "timed out" in reason:
            return DataWorkerError(f"a data worker has not answered for {self._patience:.0f} s{images}; check the storage")
        return DataWorkerError(
            f"a data worker ended{images}: {reason.splitlines()[0]} This is often for lack of memory, or of shared memory (set "
            "shm_size in the node's resources)"
        )


class _Reader(Dataset[Any]):
    """What a worker has: the datasets, and the files that it fetches ahead.

    Args:
        datasets: their images are numbered through.
        workers: that there are.
        depth: how far ahead each may read.
        far: whether a dataset's files are fetched ahead.
        patience: seconds that a file may take where there is no worker.
    """

    def __init__(
        self, datasets: Sequence[ImageDataset], workers: int, depth: Depth, far: Sequence[bool], patience: float
    ) -> None:
        self._datasets, self._depth, self._far, self._patience = datasets, depth, far, patience
        self._begins = list(accumulate(map(len, datasets), initial=0))
        self._being_read = multiprocessing.RawArray("q", [NOTHING] * workers)
        self._ahead: ReadAhead | None = None

    def __getitem__(self, request: Request) -> Batch | DesignerError:
        """A batch. A user's error is returned, not raised: raising across processes would lose its type."""
        self._announce(request)
        asked = request.asked
        dataset = self._datasets[asked.dataset]
        pixels: list[Tensor] = []
        unreadable: dict[int, DesignerError] = {}
        for index in asked.indices.tolist():
            try:
                pixels.append(self._image(dataset, asked.epoch, index, self._begins[asked.dataset] + index))
            except DesignerError as error:
                if dataset.strict or not isinstance(error, InvalidDatasetError):  # of other images it is no better
                    return error
                unreadable[index] = error
        return dataset.batch(asked, pixels, unreadable)

    def being_read(self) -> list[Path]:
        """The images that workers are at."""
        found = [self._locate(number) for number in self._being_read if number != NOTHING]
        return [dataset.path(index) for dataset, index in found]

    def _image(self, dataset: ImageDataset, epoch: int, index: int, number: int) -> Tensor:
        """One image; while it is read, its number is where the training process can see it, should this worker end."""
        worker = get_worker_info()
        if worker is not None:
            self._being_read[worker.id] = number
        try:
            return dataset.image(epoch, index, lambda: self._take(number) if self._ahead else dataset.content(index))
        finally:
            if worker is not None:
                self._being_read[worker.id] = NOTHING

    def _take(self, number: int) -> bytes | None:
        """The bytes of an image. In a worker they are waited for as long as the training process waits for the worker."""
        assert self._ahead is not None
        try:
            return self._ahead.take(number, None if get_worker_info() else self._patience)
        except TimeoutError as error:
            dataset, index = self._locate(number)
            raise not_read(dataset.path(index), self._patience) from error

    def _announce(self, request: Request) -> None:
        if request.is_first and self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        for asked in request.ahead:
            if self._far[asked.dataset]:
                self._ahead = self._ahead or ReadAhead(self._content, self._depth)
                self._ahead.announce((asked.indices + self._begins[asked.dataset]).tolist())

    def _content(self, number: int, reserve: Reserve) -> bytes | None:
        dataset, index = self._locate(number)
        return dataset.content(index, reserve)

    def _locate(self, number: int) -> tuple[ImageDataset, int]:
        place = bisect_right(self._begins, number) - 1
        return self._datasets[place], number - self._begins[place]


class _Plan:
    """What DataLoader asks for its requests: those that stand here when it begins anew."""

    def __init__(self) -> None:
        self.requests: Iterator[Request] = iter(())

    def __iter__(self) -> Iterator[Request]:
        return self.requests


@dataclass(frozen=True)
class _Worker:
    """What a worker does first: tie its life to the process that started it, and leave that one's process group.

    A signal to a job goes to its whole group, and the training needs its workers until it has stopped in order.

    Attributes:
        parent: the process that started it.
        cpus: that it stays on; any, where there are none.
    """

    parent: int
    cpus: frozenset[int] = frozenset()

    def __call__(self, worker: int) -> None:
        die_with_parent(self.parent)
        if multiprocessing.get_start_method() == "fork" and os.getppid() != self.parent:
            os._exit(1)  # it was killed before it could be watched, and nobody else would ever end this worker
        os.setpgid(0, 0)
        if self.cpus and hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # forbidden, or no longer there: it is only slower elsewhere
                os.sched_setaffinity(0, self.cpus)


def _as_it_is(batch: Any) -> Any:
    return batch
