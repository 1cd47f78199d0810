"""Which number format the network computes in: the fastest that the hardware multiplies well."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from designer_vision.errors import ParameterParsingError

VARIABLE = "DESIGNER_VISION_PRECISION"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def choose_precision(device: torch.device, environment: Mapping[str, str] | None = None) -> torch.dtype:
    """Bfloat16 on GPUs from Ampere on and on CPUs with AMX or AVX512-BF16, float16 on older GPUs, else float32.

    Raises:
        ParameterParsingError: the operator's variable DESIGNER_VISION_PRECISION has another value than DTYPES' names.
    """
    forced = (os.environ if environment is None else environment).get(VARIABLE)
    if forced is not None:
        if forced not in DTYPES:
            raise ParameterParsingError(f"{VARIABLE} is {forced!r}, expected one of {', '.join(DTYPES)}")
        return DTYPES[forced]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    abilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else torch.float32
