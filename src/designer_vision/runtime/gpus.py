"""The GPUs of this machine; one that is there and cannot be used is reported, not ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from designer_vision.runtime.console import printable, say
from designer_vision.runtime.errors import ProcessSetupError

DEVICES, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/version")
"""Where Linux has a file for each NVIDIA GPU, and what NVIDIA's kernel module says of itself."""
SYSTEM = Path("/sys")
CODE = re.compile(r"(sm|compute)_(\d+)(\d)(a?)")
"""A name of `torch.cuda.get_arch_list()`: what the code is for, as major and minor number, and `a` for that very one."""


def count_gpus() -> int:
    """How many GPUs this process can compute on; none where CUDA_VISIBLE_DEVICES hides them.

    Raises:
        ProcessSetupError: there are some, and PyTorch cannot use them, or this build of it has no code for one.
    """
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        for number in range(count):
            _check_code(torch.device("cuda", number))
        return count
    there = len([*DEVICES.glob("nvidia[0-9]*")])
    if not there or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    raise ProcessSetupError(
        f"this machine has {there} GPU{'s' if there > 1 else ''} that PyTorch cannot use: {_reason()}; use an image with CUDA "
        "and a machine whose driver is new enough for it, or set CUDA_VISIBLE_DEVICES=-1 to compute on the CPU"
    )


def device_for_scoring() -> torch.device:
    """A GPU where one can be used, else the CPU; a GPU that cannot is one warning."""
    try:
        return torch.device("cuda" if count_gpus() else "cpu")
    except ProcessSetupError as error:
        say(f"warning: computing on the CPU: {error.message}")
        return torch.device("cpu")


def describe(device: torch.device) -> str:
    """What computes: the name of a GPU, which all GPUs of its kind have, or CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def has_code_for(capability: tuple[int, int], built_for: Iterable[str]) -> bool:
    """Whether a build of PyTorch can compute on a GPU of that capability.

    Machine code (`sm_86`) runs on its own generation, from its minor number on; what is compiled on the spot (`compute_90`) runs
    on all later ones too.

    Args:
        capability: major and minor number.
        built_for: as `torch.cuda.get_arch_list()` has them; names that are not NVIDIA's tell nothing.
    """
    known = [match for name in built_for if (match := CODE.match(name))]
    for kind, major, minor, is_exact in (match.groups() for match in known):
        built = int(major), int(minor)
        if built == capability:
            return True
        if built < capability and not is_exact and (kind == "compute" or built[0] == capability[0]):
            return True
    return not known


def cpus_for_workers(device: torch.device, workers: int, processes: int) -> frozenset[int]:
    """The CPUs that the data workers of a process do best on: those beside its GPU, on a machine of several NUMA nodes.

    Args:
        device: that their images go to.
        workers: of each process.
        processes: of this machine.

    Returns:
        No CPUs where there is no difference, or where the workers of all the GPUs there would have less than a CPU each.
    """
    if device.type != "cuda" or not hasattr(os, "sched_getaffinity"):
        return frozenset()
    beside = [cpus_beside(_address(number), SYSTEM) for number in range(torch.cuda.device_count())]
    own = beside[torch.cuda.current_device() if device.index is None else device.index]
    allowed = own & os.sched_getaffinity(0)
    return allowed if len(allowed) >= workers * min(processes, beside.count(own)) else frozenset()


def cpus_beside(address: str, system: Path) -> frozenset[int]:
    """The CPUs of the NUMA node that a PCI device is at; none where there is one node, or nobody knows.

    Args:
        address: of the device, as `0000:3b:00.0`.
        system: where Linux's sysfs is.
    """
    nodes = system / "devices/system/node"
    try:
        node = int((system / "bus/pci/devices" / address / "numa_node").read_text())  # -1 is none
        ranges = (nodes / f"node{node}" / "cpulist").read_text().strip()
        ends = [[int(end) for end in part.split("-")] for part in ranges.split(",") if part]
    except (OSError, ValueError):
        return frozenset()
    if len([*nodes.glob("node[0-9]*")]) < 2:
        return frozenset()
    return frozenset(cpu for end in ends for cpu in range(end[0], end[-1] + 1))


def _address(number: int) -> str:
    found: Any = torch.cuda.get_device_properties(number)  # whose stub lacks these
    return f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"


def _check_code(device: torch.device) -> None:
    capability, built_for = torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()
    if not has_code_for(capability, built_for):
        raise ProcessSetupError(
            f"GPU {device.index}, {printable(describe(device))}, has compute capability {capability[0]}.{capability[1]}, and "
            f"PyTorch {torch.__version__} is built for {' '.join(built_for)}; choose a node with a T4, A10, A100, H100 or newer, "
            "hide this GPU with CUDA_VISIBLE_DEVICES, or set CUDA_VISIBLE_DEVICES=-1 to compute on the CPU"
        )


def _reason() -> str:
    if torch.version.cuda is None:
        return "this build of PyTorch has no CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "CUDA finds none"
    except (RuntimeError, AssertionError) as error:
        reason = printable(" ".join(str(error).split()).partition(". ")[0])
    driver = DRIVER.read_text().partition("\n")[0].removeprefix("NVRM version: ") if DRIVER.exists() else "no driver is loaded"
    return f"{reason} (PyTorch for CUDA {torch.version.cuda}; {' '.join(driver.split())})"
