"""The GPUs of this machine; one that is there and cannot be used is reported, not ignored."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from designer_vision.console import printable, say
from designer_vision.errors import ProcessSetupError

DEVICES, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/version")
"""Where Linux has a file for each NVIDIA GPU, and what NVIDIA's kernel module says of itself."""


def count_gpus() -> int:
    """How many GPUs this process can compute on; none where CUDA_VISIBLE_DEVICES hides them.

    Raises:
        ProcessSetupError: there are some, and PyTorch cannot use them.
    """
    if torch.cuda.is_available():
        return torch.cuda.device_count()
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
