from __future__ import annotations

import pytest
import torch

from designer_vision.components.training_hardware import mixed_gpus, precision_for
from designer_vision.runtime.settings import Settings
from designer_vision.training.ranks import Ranks


def test_gpus_of_several_kinds_are_a_warning_that_counts_them() -> None:
    assert mixed_gpus(["CPU", "CPU"]) == []
    assert mixed_gpus(["Tesla T4", "NVIDIA A100", "Tesla T4"]) == [
        "the processes have GPUs of several kinds (2 on Tesla T4, 1 on NVIDIA A100); all wait for the slowest"
    ]


def test_what_a_process_will_compute_with_is_known_before_it_meets_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if device.index == 0 else (7, 5))
    assert [precision_for(Ranks(local_rank=rank), 2, Settings(), 224) for rank in (0, 1, 2)] == [
        "cuda, bfloat16", "cuda, float16", "cuda, float16",
    ]  # fmt: skip
    assert precision_for(Ranks(), 0, Settings(precision="float32"), 224) == "cpu, float32"
