from __future__ import annotations

from pathlib import Path

import pytest
import torch

from designer_vision.training.profiling import TRACE, VERDICT, Profile, Reading, Traced, verdict

FAST, SLOW_DISK = Reading(0.0001, 0.002), Reading(0.02, 0.002)


def traced(waiting: float, gpu: float | None = None) -> Traced:
    return Traced(steps=20, images=320, waiting=waiting, computing=10 - waiting, gpu=gpu)


@pytest.mark.parametrize(
    ("sums", "reading", "said"),
    [
        (traced(3), FAST, "Decoding is the bottleneck"),
        (traced(3), SLOW_DISK, "The disk is slow"),
        (traced(0.5), SLOW_DISK, "The network's computation is the bottleneck"),
        (traced(0.5, gpu=3), FAST, "The GPU computed 30% of the time. The batches are small for it"),
        (traced(0.5, gpu=9), FAST, "The GPU computed 90% of the time. It is busy"),
        (traced(3, gpu=3), SLOW_DISK, "The GPU computed 30% of the time. The disk is slow"),
        (traced(3, gpu=9), SLOW_DISK, "The GPU computed 90% of the time. It is busy"),
        (traced(0.5, gpu=10.4), FAST, "The GPU computed 100% of the time. It is busy"),
    ],
)
def test_the_verdict_names_what_was_waited_for(sums: Traced, reading: Reading, said: str) -> None:
    text = verdict(sums, reading)
    assert said in text
    assert text.startswith("20 steps of 16 images took 10.00 s (32.0 images/s); ")


def test_on_a_gpu_the_time_is_the_clocks_and_not_that_of_the_main_process_which_is_ahead() -> None:
    sums = Traced(steps=20, images=320, waiting=1, computing=0.5, gpu=8)
    sums.until(10)
    assert (sums.seconds, sums.computing) == (10, 9)
    alone = Traced(waiting=1, computing=0.5)
    alone.until(10)
    assert alone.seconds == 1.5


@pytest.mark.parametrize(("steps", "traced_steps"), [(1, 1), (2, 2), (3, 2), (12, 8), (30, 20), (100, 20)])
def test_steps_in_the_middle_of_an_epoch_are_traced(tmp_path: Path, steps: int, traced_steps: int) -> None:
    profile = Profile(tmp_path / "profile", torch.device("cpu"), steps, lambda: FAST)
    for _ in range(2 * steps):  # the second epoch is left alone
        torch.ones(2).sum()
        profile.step(8, 0.01, 0.02)
    assert (
        (tmp_path / "profile" / VERDICT)
        .read_text()
        .startswith(f"{traced_steps} steps of 8 images took {traced_steps * 0.03:.2f} s")
    )
    assert (tmp_path / "profile" / TRACE).stat().st_size > 0


def test_a_profile_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "profile").write_text("in the way")
    profile = Profile(tmp_path / "profile", torch.device("cpu"), 3, lambda: FAST)
    for _ in range(3):
        profile.step(8, 0.01, 0.02)
    assert "warning: the profile could not be made: FileExistsError" in capsys.readouterr().out
