from __future__ import annotations

import pytest
import torch

from designer_vision.runtime.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("ability", "expected"), [("amx_bf16", torch.bfloat16), ("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)]
)
def test_a_cpu_computes_in_bfloat16_only_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, ability: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {ability: True})
    assert choose_precision(CPU) == expected


@pytest.mark.parametrize(
    ("generation", "expected"), [((7, 0), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_a_gpu_computes_in_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, generation: tuple, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    assert choose_precision(torch.device("cuda", 0)) == expected


def test_the_operator_decides() -> None:
    assert choose_precision(CPU, "float32") == torch.float32


@pytest.mark.parametrize(("side", "expected"), [(8, torch.float32), (16, torch.float32), (17, torch.bfloat16)])
def test_tiny_images_are_trained_on_in_float32_where_a_cpus_gradients_are_wrong(
    monkeypatch: pytest.MonkeyPatch, side: int, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_precision(CPU, trained_side=side) == expected
    assert choose_precision(CPU, "bfloat16", trained_side=side) == torch.bfloat16
