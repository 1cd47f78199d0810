"""Disks that are full, read-only, slow, hanging or gone, and folders that hold something else."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.jobs import TIMEOUT, StartJob, outcome

MANY = {"FAULT_STEP_SECONDS": 0.05}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2])
def test_f04_a_job_killed_anywhere_in_its_last_writes_only_redoes_these(start: StartJob, whole: Callable, first: int) -> None:
    number, ended = first - 2, False
    while not ended:
        number += 2
        job = start(f"out_{number}", world=1, epochs=1, FAULT_KILL_EXPORT_AT=number)
        ended = job.end() == [0]
        again = start(f"out_{number}", world=1, epochs=1)
        assert again.end() == [0], again.log()
        assert "iteration" not in again.log()
        reference = outcome(again.output) if number == first else reference  # noqa: F821
        assert outcome(again.output) == reference
    assert number > 10


def test_f26_a_disk_without_room_is_refused_before_training(start: StartJob, disk: Path) -> None:
    mount(disk, "size=256k")
    job = start(disk / "out", world=1)
    assert job.end(10) == [1]
    assert re.search(r"FailedToWriteOutputsError: .* needs about \d+ MB for checkpoints and the model and has 0 MB", job.log())


@pytest.mark.slow
def test_f28_a_disk_that_fills_up_before_the_last_writes_loses_nothing(start: StartJob, disk: Path, whole: Callable) -> None:
    job = start(disk / "out", **MANY)
    job.until("epoch 2/3 |")
    filler = disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True)
    codes = job.end(20)
    assert codes[0] == 1, job.log()
    assert "warning: no checkpoint could be saved" in job.log()
    assert re.search(r"FailedToWriteOutputsError: .*the training is kept", job.log())
    filler.unlink()
    again = start(disk / "out")
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


@pytest.mark.slow
def test_f30_an_output_that_is_read_only_is_refused(start: StartJob, disk: Path) -> None:
    mount(disk, "ro")
    job = start(disk / "out")
    assert job.end(15) == [1, 1]
    assert re.search(r"FailedToWriteOutputsError: .*disk/out cannot be written: .*Read-only", job.log())


@pytest.mark.slow
def test_f29_f31_an_output_that_becomes_read_only_keeps_what_was_saved(start: StartJob, disk: Path, whole: Callable) -> None:
    job = start(disk / "out", **MANY)
    job.until("epoch 2/3 iteration 2/4")
    while True:
        try:
            mount(disk, "ro")
            break
        except subprocess.CalledProcessError:  # a file is open for writing at this moment
            time.sleep(0.01)
    assert job.end(20)[0] == 1
    assert "warning: no checkpoint could be saved" in job.log()
    mount(disk, "rw")
    again = start(disk / "out")
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


def test_f32_a_disk_that_fails_at_fsync_costs_a_warning_and_the_older_checkpoint_is_used(
    start: StartJob, whole: Callable
) -> None:
    job = start(world=1, **MANY)
    job.until("epoch 2/3 iteration 2/8")
    job.kill()
    failing = start(world=1, FAULT_FSYNC="EIO", **MANY)
    failing.until("warning: no checkpoint could be saved")
    failing.kill()
    again = start(world=1)
    assert again.end() == [0], again.log()
    assert outcome(again.output) == whole(1)


@pytest.mark.slow
def test_f33_slow_storage_changes_nothing(start: StartJob, whole: Callable) -> None:
    job = start(FAULT_FSYNC="0.5", **MANY)
    assert job.end() == [0, 0], job.log()
    assert outcome(job.output) == whole()


@pytest.mark.slow
def test_f34_storage_that_never_answers_ends_the_job_and_is_named(start: StartJob) -> None:
    job = start(FAULT_FSYNC="1000", FAULT_STEP_SECONDS=0.5)
    assert job.end(TIMEOUT + 40) == [1, 1]
    assert re.search(r"FailedToWriteOutputsError: .*checkpoint has not answered for 4 s", job.log())


@pytest.mark.slow
def test_f35_an_output_that_is_deleted_is_never_a_success_without_files(start: StartJob) -> None:
    job = start(**MANY)
    job.until("epoch 2/3 iteration 2/4")
    shutil.rmtree(job.output, ignore_errors=True)
    codes = job.end(20)
    assert (codes == [0, 0]) == (job.output / "_meta.yaml").exists()
    assert "Traceback" not in job.log()


def test_a_temporary_folder_whose_name_is_too_long_for_a_socket_does_no_harm(
    start: StartJob, whole: Callable, tmp_path: Path
) -> None:
    long = tmp_path / ("a_name_of_a_job_" * 6)
    long.mkdir()
    job = start(TMPDIR=long)
    assert job.end() == [0, 0], job.log()
    assert outcome(job.output) == whole()


def test_f40_a_live_job_of_the_same_output_is_refused(start: StartJob) -> None:
    job = start(world=1, FAULT_STEP_SECONDS=0.5)
    job.until("epoch 1/3 iteration 1/8")
    other = start(world=1)
    assert other.end(10) == [1]
    assert "another job is writing to" in other.log()
    assert list((job.output / "checkpoint").iterdir())
    job.signal(signal.SIGTERM)
    assert job.end(10) == [143]


def test_f42_a_finished_output_is_recognised_or_refused_with_the_differences(start: StartJob) -> None:
    job = start(world=1, epochs=1)
    assert job.end() == [0], job.log()
    assert not (job.output / "checkpoint").exists()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in job.output.rglob("*") if path.is_file()}
    again = start(world=1, epochs=1)
    assert again.end() == [0], again.log()
    assert "is finished and has this configuration: nothing to do" in again.log()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in job.output.rglob("*") if path.is_file()} == before
    other = start(world=1, epochs=1, learning_rate=0.5)
    assert other.end() == [1]
    assert "holds a model of another training: learning_rate was 0.01 and is 0.5" in other.log()


def test_f38_checkpoints_of_another_training_are_refused_with_the_differences(start: StartJob, inputs: dict[str, Path]) -> None:
    job = start(world=1, **MANY)
    job.until("epoch 1/3 iteration 3/8")
    job.kill()
    other = start(world=1, batch_size=5, training_dataset=inputs["validation"])
    assert other.end() == [1]
    assert re.search(
        r"CheckpointError: .*another training: batch_size was 6 and is 5; training images was \w+ and is \w+", other.log()
    )


def test_an_unfinished_output_on_the_untrained_model_port_is_gone_on_with(start: StartJob, whole: Callable) -> None:
    job = start(world=1, **MANY)
    job.until("epoch 2/3 iteration 2/8")
    job.kill()
    other = start("elsewhere", world=1, untrained_model=job.output)
    assert other.end() == [0], other.log()
    assert "resuming after" in other.log()
    assert outcome(other.output) == whole(1)


@pytest.mark.slow
def test_f65_an_image_that_disappears_is_named_on_every_rank(start: StartJob, inputs: dict[str, Path], tmp_path: Path) -> None:
    images = shutil.copytree(inputs["training"], tmp_path / "images")
    job = start(training_dataset=images, DESIGNER_VISION_CACHE_MB=0, **MANY)
    job.until("epoch 1/3 iteration 1/4")
    for path in (images / "image").iterdir():
        path.unlink()
    assert job.end(15) == [1, 1]
    assert re.search(r"InvalidDatasetError: .*is missing", job.log() + job.log(1))
    assert all("is missing" in job.log(rank) for rank in (0, 1))
