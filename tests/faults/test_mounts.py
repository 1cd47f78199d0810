"""Faults of the mount that images come from, with many reads under way: nothing hangs, the image is named, resuming is exact."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, make_photos, run_entry
from faults.jobs import StartJob, outcome

Mount = Callable[..., Path]
SLOW = {"attribute_ms": 5, "open_ms": 10}
VERY_SLOW = {"attribute_ms": 50, "open_ms": 2000}
"""When the first images are there, all others are under way."""
NO_MEMORY_CACHE = {"DESIGNER_VISION_CACHE_MB": "0", "DESIGNER_VISION_DISK_CACHE_MB": "100"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", per_class=20)


def entry(name: str, patience: int = 300, **flags: object) -> subprocess.CompletedProcess[str]:
    return run_entry(name, {"DESIGNER_VISION_PROCESS_GROUP_TIMEOUT": str(2 * patience)}, **flags)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cache", [{}, NO_MEMORY_CACHE], ids=["in memory", "on disk"])
def test_a_training_from_a_mount_has_the_same_bits(
    start: StartJob, whole: Callable, inputs: dict[str, Path], slow_mount: Mount, cache: dict[str, str]
) -> None:
    mounts = {name: slow_mount(inputs[name.split("_")[0]], **SLOW) for name in ("training_dataset", "validation_dataset")}
    job = start(**mounts, **cache)
    assert job.end() == [0, 0], job.log()
    assert outcome(job.output) == whole()
    assert ("kept on local disk once read from" in job.log()) == bool(cache)


def test_passing_faults_of_a_mount_change_no_bit(
    start: StartJob, whole: Callable, inputs: dict[str, Path], slow_mount: Mount
) -> None:
    faults = {"fail": "1_17.png:EIO:2", "fail_read": "0_3.png:ESTALE:2", "shrink": "2_40.png"}
    job = start(training_dataset=slow_mount(inputs["training"], **SLOW, **faults))
    assert job.end() == [0, 0], job.log()
    assert outcome(job.output) == whole()


def test_f20_f34_a_file_that_is_never_opened_ends_the_training_with_its_name(
    start: StartJob, inputs: dict[str, Path], slow_mount: Mount
) -> None:
    job = start(training_dataset=slow_mount(inputs["training"], **SLOW, stall="1_17.png"))
    codes = job.end(40)
    assert 0 not in codes
    assert re.search(
        r"DataWorkerError: .*has not answered for 4 s while reading .*1_17\.png; check the storage", job.log(0) + job.log(1)
    )


def test_a_mount_that_vanishes_is_told_and_the_training_resumes_with_the_same_bits(
    start: StartJob, whole: Callable, inputs: dict[str, Path], slow_mount: Mount
) -> None:
    mounted = slow_mount(inputs["training"], **VERY_SLOW)
    job = start(training_dataset=mounted)
    job.until("epoch 1/3 iteration 1/4")
    subprocess.run(["umount", "-l", str(mounted)], check=True)
    pids = subprocess.run(["pgrep", "-f", f"slow_folder.py .*{mounted}"], capture_output=True, text=True, check=True).stdout
    for pid in pids.split():
        os.kill(int(pid), signal.SIGKILL)
    assert 0 not in job.end(30)
    assert re.search(r"(FileSystemError|InvalidDatasetError): .*\.png (cannot be read|is missing)", job.log(0) + job.log(1))
    again = start()
    assert again.end() == [0, 0], again.log()
    assert "resuming after" in again.log()
    assert outcome(again.output) == whole()


def test_f07_a_signal_while_many_reads_are_under_way_stops_in_order_and_resumes_with_the_same_bits(
    start: StartJob, whole: Callable, inputs: dict[str, Path], slow_mount: Mount
) -> None:
    mounted = slow_mount(inputs["training"], **VERY_SLOW)
    job = start(training_dataset=mounted)
    job.until("epoch 1/3 iteration 1/4")
    for rank in (0, 1):
        job.signal(signal.SIGTERM, rank)
    assert job.end(10) == [143, 143], job.log()
    again = start(training_dataset=mounted)
    assert again.end() == [0, 0], again.log()
    assert outcome(again.output) == whole()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_temporary_folder_that_is_full_changes_nothing_but_speed(
    start: StartJob, whole: Callable, inputs: dict[str, Path], slow_mount: Mount, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (small / "others").write_bytes(bytes(40_000))
        job = start(training_dataset=slow_mount(inputs["training"], **SLOW), TMPDIR=small, **NO_MEMORY_CACHE)
        assert job.end() == [0, 0], job.log()
        assert outcome(job.output) == whole()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_first_bad_image_of_the_plan_is_named_however_the_reads_come_back(
    start: StartJob, inputs: dict[str, Path], slow_mount: Mount, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(inputs["training"], tmp_path / "bad"))
    for name in ("0_3.png", "1_17.png", "1_20.png", "2_40.png"):
        (bad / "image" / name).write_bytes(b"no image")
    local, far = start("local", world=1, training_dataset=bad), start("far", world=1, training_dataset=slow_mount(bad, **SLOW))
    assert local.end() == far.end() == [1]
    named = [re.search(r"image/(\w+\.png) is not an image", job.log()) for job in (local, far)]
    assert named[0]
    assert named[1]
    assert named[0][1] == named[1][1]


def test_components_write_the_same_from_a_mount(photos: Path, slow_mount: Mount, trained_model: Path, tmp_path: Path) -> None:
    make = {"local": lambda folder: folder, "far": lambda folder: slow_mount(folder, **SLOW)}
    written: dict[str, list[dict[str, bytes]]] = {}
    for name, place in make.items():
        out = tmp_path / name
        assert entry("convert_to_image_directory", input_dataset=place(photos), output_image_directory=out / "c").returncode == 0
        converted = place(out / "c")
        halves = {f"output_image_directory{half}": out / f"s{half}" for half in (1, 2)}
        assert (
            entry("split_image_directory", input_image_directory=converted, fraction=0.7, random_seed=3, **halves).returncode == 0
        )
        scored = entry(
            "score_image_model", trained_model=trained_model, dataset=converted, threshold=0, scored_dataset=out / "scored"
        )
        assert scored.returncode == 0, scored.stderr
        written[name] = [files_of(out / folder) for folder in ("c", "s1", "s2", "scored")]
    assert written["local"] == written["far"]


@pytest.mark.parametrize("name", ["convert_to_image_directory", "score_image_model"])
def test_a_component_names_the_image_that_the_mount_does_not_give(
    photos: Path, slow_mount: Mount, trained_model: Path, tmp_path: Path, name: str
) -> None:
    mounted = slow_mount(photos, **SLOW, stall="photo 7.png")
    ports = {
        "convert_to_image_directory": {"input_dataset": mounted, "output_image_directory": tmp_path / "out"},
        "score_image_model": {
            "trained_model": trained_model,
            "dataset": mounted,
            "threshold": 0,
            "scored_dataset": tmp_path / "out",
        },
    }
    done = entry(name, patience=3, **ports[name])
    assert done.returncode == 1
    assert re.search(r"photo 7\.png(;| has not been read within 3 s; check the mount)", done.stderr)
    assert len(done.stderr.splitlines()) <= 3


def test_memory_for_few_threads_is_memory_enough(photos: Path, slow_mount: Mount, tmp_path: Path) -> None:
    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (900 * 2**20, 900 * 2**20))

    mounted = slow_mount(photos, **SLOW)
    words = ["--input_dataset", str(mounted), "--output_image_directory", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "designer_vision.entry.convert_to_image_directory", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        preexec_fn=little_memory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "60 images read" in done.stdout
