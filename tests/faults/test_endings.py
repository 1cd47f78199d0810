"""Trainings that must end, must not end, or must say why, whatever happens around them."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import make_image_directory
from faults.jobs import TIMEOUT, StartJob, outcome


def test_no_thread_that_starts_processes_is_there_when_data_workers_are_forked(start: StartJob) -> None:
    """A finished training never ended: a worker had inherited the pipe to a process that MLflow's import had started meanwhile."""
    job = start(world=1, FAULT_FORKS=1, DESIGNER_VISION_DATA_WORKERS=2)
    assert job.end() == [0], job.log()
    forks = re.findall(r"forked beside (.*)", job.log())
    assert len(forks) == 2
    assert all("MainThread" in threads and "mlflow" not in threads for threads in forks)


@pytest.mark.parametrize("output", ["closed", "full"])
def test_a_training_whose_output_nobody_takes_goes_on_and_ends_well(start: StartJob, whole: Callable, output: str) -> None:
    job = start(FAULT_OUTPUT=output)
    assert job.end() == [0, 0], job.log()
    assert outcome(job.output) == whole()


def test_an_error_is_told_also_where_the_output_is_closed(start: StartJob, tmp_path: Path) -> None:
    job = start(FAULT_OUTPUT="closed", training_dataset=tmp_path / "nowhere")
    assert job.end() == [1, 1]
    assert "Error 0018: InvalidDatasetError" in job.log()


def test_a_second_job_that_waited_for_the_first_takes_what_is_finished(start: StartJob, whole: Callable) -> None:
    first = start(FAULT_STEP_SECONDS=0.4)
    first.until("epoch 3/3 iteration 1/4")
    second = start(FAULT_LOCK_SECONDS=60)
    assert first.end() == [0, 0], first.log()
    trained = (first.output / "model").stat().st_ino
    assert second.end() == [0, 0], second.log()
    assert "is finished and has this configuration: nothing to do" in second.log()
    assert "iteration" not in second.log()
    assert (first.output / "model").stat().st_ino == trained
    assert outcome(first.output) == whole()


@pytest.mark.parametrize("world", [1, 2])
def test_starts_that_ended_in_an_error_that_was_told_are_no_crashes(
    start: StartJob, whole: Callable, inputs: dict[str, Path], tmp_path: Path, world: int
) -> None:
    images = shutil.copytree(inputs["training"], tmp_path / "images")
    (images / "image" / "1_20.png").write_bytes(b"no image")
    for _ in range(3):
        job = start(world=world, training_dataset=images)
        assert job.end() == [1] * world
        assert "1_20.png is not an image" in job.log()
    shutil.copyfile(inputs["training"] / "image" / "1_20.png", images / "image" / "1_20.png")
    job = start(world=world, training_dataset=images)
    assert job.end() == [0] * world, job.log()
    assert outcome(job.output) == whole(world)


def test_starts_in_which_a_rank_ended_without_a_word_are_crashes(start: StartJob) -> None:
    for _ in range(3):
        assert start(FAULT_AT="1 1 exit").end() == [1, 0]
    job = start()
    assert job.end() == [1, 1]
    for rank in (0, 1):
        assert "the training was started 3 times after 0 images of epoch 1" in job.log(rank)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_cannot_read_its_images_ends_those_that_wait_for_it(start: StartJob, tmp_path: Path, failing: int) -> None:
    job = start(ranks={failing: {"training_dataset": str(tmp_path / "nowhere")}})
    assert job.end(15) == [1, 1]
    for rank in (0, 1):
        assert f"{tmp_path / 'nowhere'}" in job.log(rank)
    assert f"rank {failing} failed: " in job.log(1 - failing)


def test_a_machine_that_no_resolver_knows_is_told_at_once(start: StartJob) -> None:
    job = start(MASTER_ADDR="no-such-node.invalid")
    assert job.end(10) == [1, 1]
    for rank in (0, 1):
        assert "no resolver knows the name 'no-such-node.invalid' that MASTER_ADDR gives" in job.log(rank)


def test_ranks_that_compute_in_different_formats_are_refused(start: StartJob) -> None:
    job = start(ranks={1: {"DESIGNER_VISION_PRECISION": "float32"}}, DESIGNER_VISION_PRECISION="bfloat16")
    assert job.end(15) == [1, 1]
    for rank in (0, 1):
        assert re.search("rank . has precision cpu, (bfloat16|float32), rank . has cpu, (bfloat16|float32)", job.log(rank))


@pytest.mark.parametrize(
    ("per_class", "first", "told"),
    [
        (15, 0, r"rank \d has (45|48) training images, rank \d has (45|48); start all"),
        (16, 5, r"have different training images: the first that differs is image/0_0.png of rank \d; start all"),
    ],
)
def test_ranks_with_other_images_are_told_which(start: StartJob, tmp_path: Path, per_class: int, first: int, told: str) -> None:
    images = make_image_directory(tmp_path / "images", per_class=per_class, first=first)
    job = start(ranks={1: {"training_dataset": str(images)}})
    assert job.end(15) == [1, 1]
    for rank in (0, 1):
        assert re.search(told, job.log(rank)), job.log(rank)


@pytest.mark.slow
def test_a_rank_that_was_asked_twice_is_no_rank_that_ended_without_a_word(start: StartJob) -> None:
    job = start(FAULT_STEP_SECONDS=6)
    job.until("kept in memory")
    time.sleep(1)
    job.signal(signal.SIGTERM, 1)
    time.sleep(2)
    job.signal(signal.SIGTERM, 1)
    assert job.end(12) == [1, 143]
    assert "rank 1 failed: it was asked to stop, and did not do so in time or was asked twice" in job.log()
    assert not [*(job.output / "checkpoint").glob("started_*")]


@pytest.mark.slow
def test_a_disk_that_hangs_on_one_rank_ends_all_with_the_folders_name(start: StartJob) -> None:
    job = start(ranks={0: {"FAULT_FSYNC": "60"}}, FAULT_STEP_SECONDS=1)
    assert job.end(TIMEOUT + 30) == [1, 1]
    for rank in (0, 1):
        assert f"{job.output / 'checkpoint'} has not answered for {TIMEOUT / 2:.0f} s" in job.log(rank)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
@pytest.mark.parametrize("what", ["exit", "block", "memory"])
def test_a_rank_that_is_lost_under_nccl_ends_the_others_by_name(start: StartJob, what: str) -> None:
    job = start(FAULT_AT=f"1 6 {what}", DESIGNER_VISION_DATA_WORKERS=0)
    job.end(TIMEOUT + 15)
    said = {
        "exit": "rank 1 ended without a word",
        "block": f"rank 1 has not made progress for {TIMEOUT} s",
        "memory": "rank 1 failed: ",
    }
    assert f"rank 0: Error: LostRankError: {said[what]}" in job.log()
