"""Decoded images in memory: shared by processes, within the budget, and never half written."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from designer_vision.data.cache import PixelCache, shared_cache

SIZES = np.array([[4, 6], [8, 2], [5, 5]])


@pytest.fixture
def cache() -> Iterator[PixelCache]:
    with shared_cache(SIZES, 10_000, True, lambda said: said) as cache:
        assert cache is not None
        yield cache


def image(index: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, *SIZES[index].tolist()), dtype=torch.uint8)


def test_an_image_comes_back_as_it_was_put(cache: PixelCache) -> None:
    put = [image(index) for index in range(3)]
    for index in (2, 0, 1):
        assert cache.get(index) is None
        assert index not in cache
        cache.put(index, put[index])
        assert index in cache
    assert all(torch.equal(cache.get(index), put[index]) for index in range(3))


def test_an_image_that_is_there_is_not_written_again(cache: PixelCache) -> None:
    first = image(0)
    cache.put(0, first)
    cache.put(0, 255 - first)
    assert torch.equal(cache.get(0), first)


def test_memory_that_is_full_keeps_no_more_images(cache: PixelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        cache.put(0, image(0))
    assert cache.get(0) is None


def test_an_image_smaller_than_its_place_keeps_its_size_and_a_larger_one_is_not_kept(cache: PixelCache) -> None:
    small = torch.ones(3, 2, 3, dtype=torch.uint8)
    cache.put(0, small)
    assert torch.equal(cache.get(0), small)
    cache.put(1, torch.ones(3, 9, 9, dtype=torch.uint8))
    assert cache.get(1) is None


def test_as_many_of_the_first_images_are_kept_as_the_budget_holds() -> None:
    with shared_cache(SIZES, 4 * 6 * 3 + 8 * 2 * 3, True, lambda said: said) as cache:
        assert len(cache) == 2
        cache.put(2, image(2))
        assert cache.get(2) is None
    with shared_cache(SIZES, 4 * 6 * 3 - 1, True, lambda said: said) as cache:
        assert cache is None


def test_sizes_that_no_image_has_take_no_place_and_overflow_nothing() -> None:
    claims = np.array([[4, 6], [2**31 - 1, 2**31 - 1], [5, 5]], np.int32)
    with shared_cache(claims, 10**9, True, lambda said: said) as cache:
        assert len(cache) == 1


def test_processes_that_are_told_the_memory_read_what_another_put() -> None:
    said: list[str] = []
    with (
        shared_cache(SIZES, 10_000, True, lambda text: said.append(text) or text) as mine,
        shared_cache(SIZES, 0, False, lambda text: said[0]) as other,
    ):
        put = image(1)
        other.put(1, put)
        assert torch.equal(mine.get(1), put)


def _put(cache: PixelCache) -> None:
    cache.put(0, torch.full((3, 4, 6), 7, dtype=torch.uint8))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_writes_into_the_same_memory_however_it_was_started(cache: PixelCache, start: str) -> None:
    worker = get_context(start).Process(target=_put, args=(cache,))
    worker.start()
    worker.join()
    assert (cache.get(0) == 7).all()


def test_a_copy_by_pickle_is_the_same_memory_not_its_content(cache: PixelCache) -> None:
    pickled = pickle.dumps(cache)
    _put(cache)
    assert (pickle.loads(pickled).get(0) == 7).all()


def test_without_memory_files_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    with shared_cache(SIZES, 10_000, True, lambda said: said) as cache:
        assert cache is None


def test_a_process_that_cannot_map_the_memory_has_no_cache(tmp_path: Path) -> None:
    with shared_cache(SIZES, 0, False, lambda said: f"3 {tmp_path / 'nothing'}") as cache:
        assert cache is None


def test_the_memory_is_gone_afterwards() -> None:
    with shared_cache(SIZES, 10_000, True, lambda said: said) as cache:
        memory = Path(str(cache._memory))
        assert memory.exists()
    assert not memory.exists()
