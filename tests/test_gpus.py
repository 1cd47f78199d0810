"""GPUs that are there, that are not, and that cannot be used; none is needed to run this."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from designer_vision import gpus
from designer_vision.errors import ProcessSetupError

TOO_OLD = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs and a driver that CUDA does not take."""

    def init() -> None:
        raise RuntimeError(TOO_OLD)

    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08\nGCC version:\n")
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_gpus_with_a_driver_that_is_too_old_are_an_error_with_both_versions(machine: Path) -> None:
    with pytest.raises(ProcessSetupError) as caught:
        gpus.count_gpus()
    message = caught.value.message
    assert message.startswith("this machine has 2 GPUs that PyTorch cannot use: The NVIDIA driver on your system is too old")
    assert "PyTorch for CUDA 13.0; NVIDIA UNIX x86_64 Kernel Module 535.161.08" in message
    assert "CUDA_VISIBLE_DEVICES=-1" in message


def test_a_build_without_cuda_beside_a_gpu_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ProcessSetupError, match="this build of PyTorch has no CUDA; use an image with CUDA"):
        gpus.count_gpus()


def test_a_driver_that_is_not_loaded_is_said(machine: Path) -> None:
    (machine / "version").unlink()
    with pytest.raises(ProcessSetupError, match="no driver is loaded"):
        gpus.count_gpus()


@pytest.mark.parametrize("value", ["", "-1"])
def test_gpus_that_are_hidden_are_none(machine: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpus.count_gpus() == 0


def test_a_machine_without_gpus_has_none(machine: Path) -> None:
    for path in machine.glob("nvidia?"):
        path.unlink()
    assert gpus.count_gpus() == 0
    assert gpus.device_for_scoring() == torch.device("cpu")


def test_scoring_beside_an_unusable_gpu_computes_on_the_cpu_and_says_so(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpus.device_for_scoring() == torch.device("cpu")
    printed = capsys.readouterr()
    assert "warning: computing on the CPU: this machine has 2 GPUs" in printed.out + printed.err


def test_gpus_that_can_be_used_are_counted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert gpus.count_gpus() == 3
    assert gpus.device_for_scoring() == torch.device("cuda")
