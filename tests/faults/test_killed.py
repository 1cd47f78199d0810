"""Processes that are killed, stopped, slow or absent; named after the faults they are."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.jobs import TIMEOUT, StartJob, outcome

MANY = {"FAULT_STEP_SECONDS": 0.05}


def test_f01_the_rank_that_was_killed_is_named_and_the_same_command_ends_with_the_same_bits(
    start: StartJob, whole: Callable
) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 2/4")
    job.signal(signal.SIGKILL, 1)
    assert job.end(5) == [1, -9]
    assert re.search(r"rank 0: Error: LostRankError: rank 1 ended without a word", job.log())
    again = start()
    assert again.end() == [0, 0], again.log()
    assert re.search(r"resuming after \d+ images of epoch 2", again.log())
    assert outcome(again.output) == whole()


def test_a_job_submitted_again_with_the_same_output_path_resumes(
    start: StartJob, whole: Callable, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """As on Azure ML after a spot machine is gone: another run, another machine, other mount points, the same files."""
    job = start(**MANY, MLFLOW_RUN_ID="0" * 32, AZUREML_RUN_ID="first")
    job.until("epoch 2/3 iteration 2/4")
    job.kill()
    mounted = Path(shutil.copytree(job.output, tmp_path / "mount_2/trained_model"))
    places = {"untrained_model": "model", "training_dataset": "training", "validation_dataset": "validation"}
    moved = {port: Path(shutil.copytree(inputs[name], tmp_path / "mount_2" / name)) for port, name in places.items()}
    again = start(mounted, **moved, MLFLOW_RUN_ID="1" * 32, AZUREML_RUN_ID="second")
    assert again.end() == [0, 0], again.log()
    assert re.search(r"resuming after \d+ images of epoch 2", again.log())
    assert outcome(mounted) == whole()


def test_f02_the_main_rank_that_was_killed_is_named_by_the_other(start: StartJob, whole: Callable) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 2/4")
    job.signal(signal.SIGKILL, 0)
    assert job.end(5) == [-9, 1]
    assert "rank 1: Error: LostRankError: rank 0 ended" in job.log(1)
    again = start()
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_f06_f43_a_job_lost_at_random_moments_ends_with_the_same_bits(start: StartJob, whole: Callable, kills: int) -> None:
    draw = random.Random(kills)
    lost = 0
    while lost < kills:
        job = start(f"out_{lost // 10}", FAULT_STEP_SECONDS=0.03)
        delay = draw.uniform(0, 1.5)
        begin = time.monotonic()
        while time.monotonic() - begin < delay and job.running():
            time.sleep(0.005)
        if any("started" in job.log(rank) and "times after" in job.log(rank) for rank in (0, 1)):
            for note in (job.output / "checkpoint").glob("started_*"):
                note.unlink()  # as its message advises
        job.kill()
        lost += 1
        if lost % 10 == 0:
            again = start(f"out_{(lost - 1) // 10}")
            codes = again.end()
            if codes != [0, 0]:
                assert "times after" in again.log()
                for note in (again.output / "checkpoint").glob("started_*"):
                    note.unlink()
                again = start(f"out_{(lost - 1) // 10}")
                codes = again.end()
            assert codes == [0, 0], again.log()
            assert outcome(again.output) == whole()


def test_f08_ranks_told_at_different_moments_agree_on_one_step(start: StartJob, whole: Callable) -> None:
    job = start(FAULT_STEP_SECONDS=0.3, DESIGNER_VISION_CHECKPOINT_SECONDS=1000)
    job.until("epoch 2/3 iteration 1/4")
    job.signal(signal.SIGTERM, 1)
    time.sleep(0.5)
    for rank in (0, 1):
        if job.pids[rank] in job.running():
            job.signal(signal.SIGTERM, rank)
    assert job.end(10) == [143, 143]
    stopped = [re.search(r"JobStoppedError: (stopped after \d+ images of epoch 2)", job.log(rank)) for rank in (0, 1)]
    assert stopped[0]
    assert stopped[1]
    assert stopped[0][1] == stopped[1][1]
    again = start()
    assert again.end() == [0, 0], again.log()
    assert stopped[0][1].removeprefix("stopped ") in again.log()
    assert outcome(again.output) == whole()


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.05, 0.2, 1.0])
def test_f09_sigkill_soon_after_sigterm_loses_steps_only(start: StartJob, whole: Callable, wait: float) -> None:
    job = start(FAULT_STEP_SECONDS=0.1)
    job.until("epoch 2/3 iteration 2/4")
    for rank in (0, 1):
        job.signal(signal.SIGTERM, rank)
    time.sleep(wait)
    job.kill()
    again = start()
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["network:", "epoch 1/3 iteration 4/4", "epoch 3/3 |", "kept in memory"])
def test_f10_sigterm_at_the_start_in_validation_and_at_the_end(start: StartJob, whole: Callable, moment: str) -> None:
    job = start(FAULT_STEP_SECONDS=0.05)
    job.until(moment)
    for rank in (0, 1):
        if job.pids[rank] in job.running():
            job.signal(signal.SIGTERM, rank)
    assert set(job.end(10)) <= {143, -15, 0, 1}
    again = start()
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


@pytest.mark.slow
def test_f10_a_second_sigterm_ends_it_at_once_and_is_no_crash(start: StartJob) -> None:
    job = start(world=1, FAULT_STEP_SECONDS=6)
    job.until("kept in memory")
    time.sleep(0.5)
    job.signal(signal.SIGTERM)
    time.sleep(2)
    job.signal(signal.SIGTERM)
    assert job.end(1) == [143]
    assert [*(job.output / "checkpoint").iterdir()] == []  # it was asked to, so that it does not count as a crash


def test_f11_f12_ctrl_c_stops_in_order_and_the_same_command_goes_on(start: StartJob, whole: Callable) -> None:
    job = start(world=1, **MANY)
    job.until("epoch 2/3 iteration 2/8")
    job.signal(signal.SIGINT)
    assert job.end(5) == [143]
    assert "Traceback" not in job.log()
    again = start(world=1)
    assert again.end() == [0], again.log()
    assert outcome(again.output) == whole(1)


@pytest.mark.slow
def test_f13_a_rank_that_is_stopped_is_named(start: StartJob) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 1/4")
    job.signal(signal.SIGSTOP, 1)
    job.until(lambda: job.pids[0] not in job.running(), seconds=TIMEOUT + 10)
    assert f"rank 1 has not answered for {TIMEOUT} s" in job.log()
    job.signal(signal.SIGCONT, 1)
    assert job.end(10) == [1, 1]


@pytest.mark.slow
def test_f14_a_rank_that_is_stopped_for_less_than_the_timeout_changes_nothing(start: StartJob, whole: Callable) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 1/4")
    job.signal(signal.SIGSTOP, 1)
    time.sleep(TIMEOUT - 3)
    job.signal(signal.SIGCONT, 1)
    assert job.end() == [0, 0]
    assert outcome(job.output) == whole()


@pytest.mark.slow
def test_f15_a_slow_rank_changes_nothing_and_is_named(start: StartJob, whole: Callable) -> None:
    job = start(ranks={1: {"FAULT_STEP_SECONDS": "0.5"}}, FAULT_STEP_SECONDS=0.01)
    assert job.end() == [0, 0]
    assert "rank 1 is slow" in job.log()
    assert outcome(job.output) == whole()


@pytest.mark.slow
def test_f17_a_rank_that_leaves_without_a_word_does_not_make_a_finished_job(start: StartJob) -> None:
    job = start(FAULT_AT="1 3 exit")
    assert job.end(8) == [1, 0]
    assert "rank 1 ended without a word" in job.log()
    assert not (job.output / "_meta.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_f18_a_rank_that_crashes_ends_the_job(start: StartJob, number: signal.Signals) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 1/4")
    job.signal(number, 1)
    assert job.end(8) == [1, -number]
    assert "rank 1 ended without a word" in job.log()


def test_f19_a_data_worker_that_is_killed_is_told(start: StartJob, whole: Callable) -> None:
    job = start(world=1, DESIGNER_VISION_DATA_WORKERS=1, **MANY)
    job.until("epoch 2/3 iteration 1/8")
    os.kill(job.workers()[0], signal.SIGKILL)  # the training images'
    assert job.end(10) == [1]
    assert re.search(
        r"DataWorkerError: (training_dataset: )?a data worker ended", job.log()
    )  # with the port, where it was reading
    assert "shm_size" in job.log()
    again = start(world=1)
    assert again.end() == [0], again.log()
    assert outcome(again.output) == whole(1)


def test_f20_a_pipe_in_the_place_of_an_image_is_named_and_not_waited_for(
    start: StartJob, inputs: dict[str, Path], tmp_path: Path
) -> None:
    images = shutil.copytree(inputs["training"], tmp_path / "images")
    hanging = images / "image" / "1_20.png"
    hanging.unlink()
    os.mkfifo(hanging)
    job = start(training_dataset=images)
    assert job.end() == [1, 1]
    failed = [rank for rank in (0, 1) if "InvalidDatasetError" in job.log(rank)]
    assert len(failed) == 1
    for rank in (0, 1):
        assert f"{hanging} is a pipe, expected a plain file" in job.log(rank)
        assert (f"rank {failed[0]} failed: " in job.log(rank)) == (rank not in failed)


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [0, 1])
def test_a_rank_whose_main_thread_waits_for_ever_is_named_with_what_it_does(start: StartJob, blocked: int) -> None:
    job = start(FAULT_AT=f"{blocked} 6 block")
    assert job.end(TIMEOUT + 15) == [1, 1]
    for rank in (0, 1):
        assert f"LostRankError: rank {blocked} has not made progress for {TIMEOUT} s, waiting for images" in job.log(rank)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_f45_another_number_of_processes_goes_on_and_says_by_which_rule(start: StartJob, before: int, after: int) -> None:
    job = start(world=before, FAULT_STEP_SECONDS=0.1)
    job.until("epoch 2/3 iteration 2/")
    for rank in range(before):
        job.signal(signal.SIGTERM, rank)
    assert set(job.end(10)) == {143}
    again = start(world=after)
    assert again.end() == [0] * after, again.log()
    assert f"processes was {before} and is {after}" in again.log()
    assert "redistributed; the learning rate follows the new number of processes" in again.log()
    assert [line["step"] for line in outcome(again.output)[1]] == [1, 2, 3]


@pytest.mark.slow
def test_f46_another_number_of_data_workers_changes_no_bit(start: StartJob, whole: Callable) -> None:
    job = start(DESIGNER_VISION_DATA_WORKERS=0, **MANY)
    job.until("epoch 2/3 iteration 2/4")
    job.kill()
    again = start(DESIGNER_VISION_DATA_WORKERS=2)
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


def test_f54_a_rank_that_never_starts_is_named(start: StartJob) -> None:
    job = start(world=3, ranks={2: {"start": "never"}}, DESIGNER_VISION_START_TIMEOUT=2)
    assert job.end(7) == [1, 1]
    for rank in (0, 1):
        assert "2 of 3 processes came within 2 s, missing rank 2" in job.log(rank)


def test_f60_a_rank_that_was_started_otherwise_is_named(start: StartJob) -> None:
    job = start(ranks={1: {"learning_rate": "0.5"}})
    assert job.end(20) == [1, 1]
    for rank in (0, 1):
        assert re.search(r"rank \d has learning_rate 0\.\d+, rank \d has 0\.\d+; start all with the same inputs", job.log(rank))


@pytest.mark.slow
def test_f62_f63_only_the_main_rank_needs_the_output(start: StartJob, whole: Callable, tmp_path) -> None:
    elsewhere = {1: {"trained_model": str(tmp_path / "elsewhere")}}
    job = start(ranks=elsewhere, **MANY)
    job.until("epoch 2/3 iteration 2/4")
    job.kill()
    again = start(ranks=elsewhere)
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_f70_a_loss_that_is_not_finite_on_one_rank_stops_all_and_keeps_the_best(start: StartJob) -> None:
    job = start(FAULT_AT="1 6 inf")
    assert job.end(20) == [1, 1]
    assert re.search(
        r"became NaN or infinite at epoch 2, iteration 2.*the best network before that is kept in .*best_epoch_1", job.log()
    )
    assert (job.output / "best_epoch_1" / "_meta.yaml").exists()


def test_a_job_that_dies_three_times_at_the_same_place_says_so(start: StartJob) -> None:
    for _ in range(3):
        job = start(world=1, FAULT_STEP_SECONDS=5)
        job.until(lambda job=job: bool(list((job.output / "checkpoint").glob("started_*"))) and "kept in memory" in job.log())
        time.sleep(0.3)
        job.kill()
    job = start(world=1)
    assert job.end(10) == [1]
    assert "CheckpointError: trained_model: the training was started 3 times after 0 images of epoch 1" in job.log()
