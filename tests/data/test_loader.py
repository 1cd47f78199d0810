from __future__ import annotations

import gc
import multiprocessing.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image_directory
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.data import workers as data_workers
from designer_vision.data.cache import shared_cache
from designer_vision.data.dataset import Asked, ImageDataset
from designer_vision.data.disk_cache import shared_disk_cache
from designer_vision.data.epoch_order import Indices, batches, epoch_order, shard
from designer_vision.data.loader import Loader, _Worker, requests
from designer_vision.data.transforms import EvaluationTransform, compose
from designer_vision.data.workers import worker_count, workers_that_fit
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import DataWorkerError, FileSystemError, InvalidDatasetError

CPU = torch.device("cpu")
counts = st.integers(1, 300)
worlds = st.integers(1, 9)


@given(counts, worlds, st.integers(0, 2**63 - 1), st.integers(1, 50))
def test_an_epoch_uses_every_image_once_but_for_padding_below_the_world_size(
    images: int, world: int, seed: int, epoch: int
) -> None:
    order = epoch_order(images, seed, epoch)
    shards = [shard(order, rank, world) for rank in range(world)]
    used = np.concatenate(shards)
    assert len({len(part) for part in shards}) == 1
    assert set(used) == set(range(images))
    assert len(used) - images < world


@given(counts, st.integers(1, 40))
def test_case_138_batches_are_of_one_size_but_the_last_and_none_is_small_or_has_a_single_image(
    images: int, batch_size: int
) -> None:
    parts = batches(np.arange(images), batch_size)
    sizes = [len(part) for part in parts]
    assert min(sizes) > 1 or min(images, batch_size) == 1
    assert len(parts) == -(-images // batch_size) - (batch_size == 2 and images % 2 == 1 and images > 1)
    assert max(sizes) <= batch_size + (batch_size == 2)
    assert {*sizes[:-2]} <= {sizes[0]}
    assert 2 * min(sizes) >= sizes[0]
    assert (np.concatenate(parts) == np.arange(images)).all()


def test_seventeen_images_at_batch_sixteen_are_nine_and_eight() -> None:
    assert [len(part) for part in batches(np.arange(17), 16)] == [9, 8]


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [(24, 8, [8, 8, 8]), (30, 8, [8, 8, 8, 6]), (25, 8, [7, 7, 7, 4]), (57, 8, [8, 8, 8, 8, 8, 8, 5, 4]), (5, 2, [2, 3])],
)
def test_an_epoch_has_one_size_of_batches_and_shorter_ones_at_its_end(images: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(part) for part in batches(np.arange(images), batch_size)] == sizes


@given(counts, st.integers(1, 8), st.integers(1, 40))
def test_every_step_has_as_many_images_on_each_rank_so_that_the_mean_of_gradients_is_the_mean_over_images(
    images: int, world: int, batch_size: int
) -> None:
    order = epoch_order(images, 1, 1)
    steps = [[len(part) for part in batches(shard(order, rank, world), batch_size)] for rank in range(world)]
    assert all(sizes == steps[0] for sizes in steps)


def test_no_images_make_no_batches() -> None:
    assert batches(np.arange(0), 16) == []


def test_another_epoch_or_seed_has_another_order() -> None:
    orders = {tuple(epoch_order(20, seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}
    assert len(orders) == 4


def dataset(folder: Path, operations: list, seed: int = 1) -> ImageDataset:
    index = read_image_directory(make_image_directory(folder))
    return ImageDataset(index, EvaluationTransform([], (32, 32)), (16, 16), operations, seed)


def asked(epoch: int, plan: Sequence[Indices], dataset: int = 0) -> list[Asked]:
    return [Asked(epoch, indices, dataset) for indices in plan]


RANDOM = [["RandomCrop", 16], ["RandomHorizontalFlip", {}], ["ColorJitter", {"brightness": 0.5}]]


def test_an_image_looks_the_same_whichever_worker_reads_it(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", RANDOM)
    plan = batches(np.arange(len(data)), 5)
    torch.manual_seed(1)
    alone = [batch.images for batch in Loader([data], 0, CPU).batches(asked(3, plan))]
    torch.manual_seed(2)
    shared = [batch.images for batch in Loader([data], 2, CPU).batches(asked(3, plan))]
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_random_operations_are_drawn_anew_for_each_epoch_image_and_seed(tmp_path: Path) -> None:
    data = dataset(tmp_path / "one", RANDOM)
    first = data.image(1, 0)
    assert torch.equal(first, data.image(1, 0))
    assert not torch.equal(first, data.image(2, 0))
    assert not torch.equal(first, dataset(tmp_path / "two", RANDOM, seed=2).image(1, 0))


def test_random_operations_leave_the_global_random_state_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", RANDOM)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    data.image(1, 0)
    assert torch.rand(1) == expected


def test_batches_are_bytes_with_channels_last_and_the_right_labels(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", [["RandomCrop", 16]])
    (batch,) = Loader([data], 0, CPU).batches(asked(1, [np.array([0, 4, 8])]))
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (3, 3, 16, 16)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.tolist() == [0, 1, 2]


def test_a_dataset_can_be_sent_to_workers_that_are_not_forked(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", RANDOM)
    assert torch.equal(pickle.loads(pickle.dumps(data)).image(1, 0), data.image(1, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_cache_holds_is_not_read_again_and_looks_the_same(tmp_path: Path, workers: int) -> None:
    plain, kept = dataset(tmp_path / "one", RANDOM), dataset(tmp_path / "two", RANDOM)
    plan = batches(np.arange(len(plain)), 5)
    with shared_cache(np.full((len(kept), 2), 32), 10**6, True, lambda said: said) as kept.cache:
        loader = Loader([kept], workers, CPU)
        list(loader.batches(asked(1, plan)))
        shutil.rmtree(tmp_path / "two" / "image")
        again = [batch.images for batch in loader.batches(asked(2, plan))]
    expected = [batch.images for batch in Loader([plain], 0, CPU).batches(asked(2, plan))]
    assert all(torch.equal(one, other) for one, other in zip(again, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_epoch_by_name(tmp_path: Path, workers: int) -> None:
    data = dataset(tmp_path / "images", [["RandomCrop", 16]])
    (tmp_path / "images" / "image" / "1_5.png").write_bytes(b"not an image")
    with pytest.raises(InvalidDatasetError, match=r"1_5\.png is not an image"):
        list(Loader([data], workers, CPU).batches(asked(1, batches(np.arange(len(data)), 4))))


def test_an_image_that_does_not_fit_is_named_with_both_sizes(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", [])
    with pytest.raises(InvalidDatasetError, match=r"0_0\.png does not fit: .*32 x 32 pixels, but the network takes 16 x 16"):
        data.image(1, 0)


def test_processes_share_the_cpus_among_their_workers() -> None:
    assert worker_count(16, 4, torch.device("cuda", 0)) == 4
    assert worker_count(2, 8, torch.device("cuda", 0)) == 1
    assert worker_count(16, 1, CPU) == 1
    assert worker_count(16, 1, CPU, forced=0) == 0


TRAINING = """
import os, sys, time
from pathlib import Path
import numpy as np, torch
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.data.disk_cache import shared_disk_cache
from designer_vision.data.dataset import Asked, ImageDataset
from designer_vision.data.loader import Loader
from designer_vision.data.transforms import EvaluationTransform
index = read_image_directory(Path(sys.argv[1]))
loader = Loader([ImageDataset(index, EvaluationTransform([], (32, 32)), (32, 32))], 2, torch.device("cpu"))
next(loader.batches([Asked(1, np.array([0, 1]))]))
print(*Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_workers_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    folder = make_image_directory(tmp_path / "images", per_class=1)
    process = subprocess.Popen([sys.executable, "-c", TRAINING, str(folder)], stdout=subprocess.PIPE, text=True)
    workers = [Path(f"/proc/{pid}") for pid in process.stdout.readline().split()]
    assert len(workers) >= 2
    process.kill()
    process.wait()
    time.sleep(2)
    assert not any(worker.exists() and "Z (zombie)" not in (worker / "status").read_text() for worker in workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_worker_whose_process_was_killed_before_it_looked_ends_at_once() -> None:
    """It would hold the output folder's lock, and no training could be started there again."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    worker = os.fork()
    if worker == 0:
        _Worker(gone.pid)(0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_workers_stay_on_the_cpus_beside_their_gpu_and_the_process_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(
        "designer_vision.data.loader.cpus_for_workers", lambda device, workers, processes: frozenset({max(allowed)})
    )
    dataset = ImageDataset(read_image_directory(make_image_directory(tmp_path / "images")), compose([]), (32, 32))
    loader = Loader([dataset], 2, CPU)
    assert len([*loader.batches(Asked(0, indices) for indices in batches(np.arange(12), 3))]) == 4
    workers = loader._loader._iterator._workers
    assert [os.sched_getaffinity(worker.pid) for worker in workers] == [{max(allowed)}] * 2
    assert os.sched_getaffinity(0) == allowed


@given(st.integers(0, 64), st.integers(1, 10**8), st.integers(0, 10**10))
def test_f21_workers_fit_into_the_shared_memory_that_there_is(workers: int, batch_bytes: int, room: int) -> None:
    fitting = workers_that_fit(workers, batch_bytes, room)
    assert 0 <= fitting <= workers
    assert fitting == 0 or (fitting * 3 + 1) * batch_bytes <= room  # two ahead and one in work each, and one in training
    assert fitting == workers or ((fitting + 1) * 3 + 1) * (batch_bytes + 8192) + (fitting + 1) * 32768 > room


def test_f25_workers_that_cannot_be_started_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    index = read_image_directory(make_image_directory(tmp_path / "images"))
    dataset = ImageDataset(index, compose([]), (32, 32))
    with monkeypatch.context() as patch:
        patch.setattr("os.fork", no_more)
        with pytest.raises(DataWorkerError, match="2 data workers cannot be started: Resource .*ulimit -u"):
            Loader([dataset], 2, CPU)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_temporary_folder_too_long_for_sockets_is_replaced_or_told_before_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    long, short = tmp_path / ("a_name_of_a_job_" * 6), Path(tempfile.mkdtemp(dir="/dev/shm"))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(data_workers, "SHORT_FOLDERS", (str(tmp_path / "missing"), *([str(short)] if is_open else [])))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)  # taken back for what comes after
    monkeypatch.setattr(multiprocessing.util, "Finalize", lambda *arguments, **more: None)  # it is removed here
    dataset = ImageDataset(read_image_directory(make_image_directory(tmp_path / "images")), compose([]), (32, 32))
    try:
        if is_open:
            batch, *_ = Loader([dataset], 1, CPU).batches([Asked(1, np.array([0, 1]))])
            assert len(batch.images) == 2
            assert list(short.iterdir())
        else:
            with pytest.raises(DataWorkerError, match=f"name is too long .*{long}; set TMPDIR to .* at most 60 letters"):
                Loader([dataset], 1, CPU)
        assert tempfile.gettempdir() == str(long)
    finally:
        shutil.rmtree(short)


@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 4))
def test_each_worker_is_told_of_its_own_next_batches_once_and_in_order(batches: int, workers: int, ahead: int) -> None:
    sent = list(requests((Asked(1, np.array([number])) for number in range(batches)), workers, ahead))
    assert [int(request.asked.indices[0]) for request in sent] == list(range(batches))
    for worker in range(workers):
        own = sent[worker::workers]
        told = [int(asked.indices[0]) for request in own for asked in request.ahead]
        if ahead:
            assert told == [int(request.asked.indices[0]) for request in own]
        for place, request in enumerate(own):
            known = {int(asked.indices[0]) for one in own[: place + 1] for asked in one.ahead}
            assert known >= {int(one.asked.indices[0]) for one in own[place : place + ahead + 1]} or not ahead
            assert request.is_first == (place == 0)


def test_a_plan_is_asked_for_no_earlier_than_it_must_be() -> None:
    asked_for = []

    def plan() -> Iterator[Asked]:
        for number in range(100):
            asked_for.append(number)
            yield Asked(1, np.array([number]))

    coming = requests(plan(), workers=2, batches_ahead=3)
    next(coming)
    assert len(asked_for) == 7
    next(coming)
    assert len(asked_for) == 8


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_are_far_come_as_those_that_are_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    data = [dataset(tmp_path / name, RANDOM) for name in ("one", "two")]
    plan = [
        one for epoch in (1, 2) for number in (0, 1) for one in asked(epoch, batches(np.arange(len(data[number])), 5), number)
    ]
    near = [batch.images for batch in Loader(data, workers, CPU).batches(plan)]
    monkeypatch.setattr("designer_vision.data.loader.is_far", lambda folder: folder == tmp_path / "one")
    loader = Loader(data, workers, CPU, batch_size=5)
    next(loader.batches(plan[3:]))  # a plan that is given up
    far = [batch.images for batch in loader.batches(plan)]
    assert len(near) == len(plan)
    assert all(torch.equal(one, other) for one, other in zip(near, far, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mount_that_is_gone_ends_also_what_leaves_out_images_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    data = dataset(tmp_path / "images", [["RandomCrop", 16]])
    data.strict = False

    def gone(index: int, reserve: object = None) -> bytes:
        raise FileSystemError("3.png cannot be read: Transport endpoint is not connected; mount its folder again")

    monkeypatch.setattr(data, "content", gone)
    with pytest.raises(FileSystemError, match="mount its folder again"):
        list(Loader([data], workers, CPU).batches(asked(1, [np.array([3])])))


def test_a_file_that_the_disk_has_is_not_fetched_again_in_the_next_epoch(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", RANDOM)
    plan = batches(np.arange(len(data)), 5)
    with shared_disk_cache(len(data), 10**6, True, lambda said: said) as data.on_disk:
        loader = Loader([data], 1, CPU)
        list(loader.batches(asked(1, plan)))
        shutil.rmtree(tmp_path / "images" / "image")
        assert sum(len(batch.labels) for batch in loader.batches(asked(2, plan))) == len(data)


def test_the_disk_keeps_only_files_whose_images_memory_has_no_place_for(tmp_path: Path) -> None:
    data = dataset(tmp_path / "images", RANDOM)
    with (
        shared_cache(np.full((len(data), 2), 32), 7 * 32 * 32 * 3, True, lambda said: said) as data.cache,
        shared_disk_cache(len(data), 10**6, True, lambda said: said) as data.on_disk,
    ):
        list(Loader([data], 0, CPU).batches(asked(1, batches(np.arange(len(data)), 5))))
        assert [index in data.cache for index in range(len(data))] == [True] * 7 + [False] * (len(data) - 7)
        assert [data.on_disk.get(index) is not None for index in range(len(data))] == [False] * 7 + [True] * (len(data) - 7)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_loader_that_nobody_has_any_more_leaves_no_worker(tmp_path: Path) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    gc.disable()
    try:
        loader = Loader([dataset(tmp_path / "images", RANDOM)], 2, CPU)
        list(loader.batches(asked(1, [np.array([0, 1])])))
        assert len(set(children.read_text().split()) - before) == 2
        del loader
        assert not set(children.read_text().split()) - before
    finally:
        gc.enable()
