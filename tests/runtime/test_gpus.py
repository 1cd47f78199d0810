"""GPUs that are there, that are not, and that cannot be used; none is needed to run this."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from designer_vision.runtime import gpus
from designer_vision.runtime.errors import ProcessSetupError

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


PINNED = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
"""What the pinned PyTorch is built for."""


def with_gpus(monkeypatch: pytest.MonkeyPatch, **capabilities: tuple[int, int]) -> None:
    """GPUs that a driver takes, by name, with a PyTorch as it is pinned."""
    names = list(capabilities)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[names[device.index]])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: PINNED)


def test_gpus_that_can_be_used_are_counted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, T4=(7, 5), A100=(8, 0), L40=(8, 9))
    assert gpus.count_gpus() == 3
    assert gpus.device_for_scoring() == torch.device("cuda")


def test_a_gpu_that_this_build_of_pytorch_has_no_code_for_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, A100=(8, 0), V100=(7, 0))
    with pytest.raises(ProcessSetupError) as caught:
        gpus.count_gpus()
    assert caught.value.message.startswith("GPU 1, V100, has compute capability 7.0, and PyTorch ")
    assert "is built for sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120; choose a node with a T4, A10" in caught.value.message


def test_scoring_beside_a_gpu_without_code_computes_on_the_cpu_and_says_so(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gpus(monkeypatch, V100=(7, 0))
    assert gpus.device_for_scoring() == torch.device("cpu")
    printed = capsys.readouterr()
    assert "warning: computing on the CPU: GPU 0, V100, has compute capability 7.0" in printed.out + printed.err


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((7, 0), PINNED, False),
        ((7, 5), PINNED, True),
        ((8, 0), PINNED, True),
        ((8, 9), PINNED, True),
        ((9, 0), PINNED, True),
        ((10, 3), PINNED, True),
        ((12, 1), PINNED, True),
        ((13, 0), PINNED, True),
        ((13, 0), PINNED[:-1], False),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((8, 0), ["compute_75"], True),
        ((7, 0), ["compute_75"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), ["sm_120a"], False),
        ((9, 0), ["gfx90a", "gfx1100"], True),
        ((9, 0), [], True),
    ],
)
def test_code_runs_on_its_generation_and_what_is_compiled_on_the_spot_on_later_ones(
    capability: tuple[int, int], built_for: list[str], expected: bool
) -> None:
    assert gpus.has_code_for(capability, built_for) is expected


def test_a_device_is_described_by_the_name_that_its_kind_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, T4=(7, 5), A100=(8, 0))
    assert [gpus.describe(torch.device(name)) for name in ("cuda:0", "cuda:1", "cpu")] == ["T4", "A100", "CPU"]


def sysfs(root: Path, nodes: dict[int, str], devices: dict[str, int]) -> Path:
    """A machine's NUMA nodes, each with its CPUs, and the node of each PCI device."""
    for node, cpus in nodes.items():
        (root / f"devices/system/node/node{node}").mkdir(parents=True)
        (root / f"devices/system/node/node{node}/cpulist").write_text(f"{cpus}\n")
    for address, node in devices.items():
        (root / "bus/pci/devices" / address).mkdir(parents=True)
        (root / "bus/pci/devices" / address / "numa_node").write_text(f"{node}\n")
    return root


TWO_NODES = {0: "0-3,8-11", 1: "4-7,12-15"}
FIRST, SECOND, THIRD = "0000:3b:00.0", "0000:af:00.0", "e1a5:00:00.0"


@pytest.mark.parametrize(
    ("nodes", "devices", "expected"),
    [
        (TWO_NODES, {FIRST: 0}, {0, 1, 2, 3, 8, 9, 10, 11}),
        (TWO_NODES, {FIRST: 1}, {4, 5, 6, 7, 12, 13, 14, 15}),
        ({0: "0", 3: "5,7-8"}, {FIRST: 3}, {5, 7, 8}),
        (TWO_NODES, {FIRST: -1}, set()),
        (TWO_NODES, {SECOND: 1}, set()),
        ({0: "0-15"}, {FIRST: 0}, set()),
        ({0: "0-15", 1: ""}, {FIRST: 1}, set()),
        ({}, {}, set()),
    ],
    ids=["first", "second", "gaps", "no node is told", "another device", "one node", "memory only", "no sysfs"],
)
def test_the_cpus_beside_a_device_are_those_of_its_node(
    tmp_path: Path, nodes: dict[int, str], devices: dict[str, int], expected: set[int]
) -> None:
    assert gpus.cpus_beside(FIRST, sysfs(tmp_path, nodes, devices)) == expected


@pytest.mark.parametrize(
    ("device", "workers", "processes", "allowed", "expected"),
    [
        ("cuda:0", 4, 3, range(16), {0, 1, 2, 3, 8, 9, 10, 11}),
        ("cuda:1", 4, 3, range(16), {0, 1, 2, 3, 8, 9, 10, 11}),
        ("cuda:2", 8, 3, range(16), {4, 5, 6, 7, 12, 13, 14, 15}),
        ("cuda", 8, 1, range(16), {0, 1, 2, 3, 8, 9, 10, 11}),
        ("cuda:0", 2, 1, range(2, 8), {2, 3}),
        ("cuda:0", 1, 1, range(4, 8), set()),
        ("cuda:0", 5, 3, range(16), set()),
        ("cuda:2", 9, 3, range(16), set()),
        ("cpu", 1, 1, range(16), set()),
    ],
    ids=["two share", "the other", "alone", "any", "fewer are allowed", "none is", "two are too many", "too many", "a CPU"],
)
def test_workers_stay_beside_their_gpu_where_each_of_them_has_a_cpu_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int, processes: int, allowed: range, expected: set[int]
) -> None:
    buses = [(0, 0x3B), (0, 0xAF), (0xE1A5, 0)]
    monkeypatch.setattr(gpus, "SYSTEM", sysfs(tmp_path, TWO_NODES, {FIRST: 0, SECOND: 0, THIRD: 1}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda number: SimpleNamespace(pci_domain_id=buses[number][0], pci_bus_id=buses[number][1], pci_device_id=0),
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(allowed), raising=False)
    assert gpus.cpus_for_workers(torch.device(device), workers, processes) == expected
