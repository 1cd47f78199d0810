"""Which number format the network computes in: the fastest that the hardware multiplies well."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


TINY = 16
"""Pixels of a side up to which a training's gradients are wrong in bfloat16 on a CPU.

There the last stage of most networks has a strided convolution over a single cell, whose gradient oneDNN takes from memory that
was never written (torch 2.14, AVX512-BF16): other weights at every run, at times infinite ones.
"""


def choose_precision(device: torch.device, forced: str | None = None, trained_side: int | None = None) -> torch.dtype:
    """Bfloat16 on GPUs from Ampere on and on CPUs with AMX or AVX512-BF16, float16 on older GPUs, else float32.

    Args:
        device: where the network computes.
        forced: the operator's choice, a key of DTYPES.
        trained_side: the shorter side of the images, in pixels, where the network is trained on them.
    """
    if forced is not None:
        return DTYPES[forced]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if trained_side is not None and trained_side <= TINY:
        return torch.float32
    abilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """The block in which a network's multiplications are done in that format."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)
