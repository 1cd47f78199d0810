"""The workers that decode an epoch's batches, in the order of a plan."""

from __future__ import annotations

import multiprocessing
import os
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from designer_vision.data.dataset import Asked, Batch, ImageDataset
from designer_vision.data.read_ahead import Depth, ReadAhead, Reserve, depth_for, not_read
from designer_vision.data.workers import PREFETCHED, keep_sockets_short
from designer_vision.runtime.errors import DataWorkerError, DesignerError, InvalidDatasetError
from designer_vision.runtime.gpus import cpus_for_workers
from designer_vision.runtime.machine import die_with_parent, is_far

NOTHING = -1
WORKER_LOST = re.compile("worker|timed out", re.IGNORECASE)


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
        if workers:
            keep_sockets_short()
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
            f"a data worker ended{images}: {reason.splitlines()[0]} Often there is too little memory, or shared memory (set "
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
