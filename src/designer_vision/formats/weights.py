"""The weights of a model folder: what is loaded must be those of its network, by name, shape and kind, all finite."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from designer_vision.runtime import torch_files
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import InvalidModelDirectoryError

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the state_dict, with an optimizer's or an epoch beside it."""
PREFIXES = re.compile(r"^(?:module\.|model\.)+")
"""Of DistributedDataParallel and of the classic module."""
SLACK, TIMES = 32 * 2**20, 6
"""How much longer than its weights a file may be: float64, or an optimizer's state beside them."""
ADVICE = "save one with torch.save(network.state_dict(), path)"


def read_weights(file: BinaryIO, path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network, float32 (and int64 for counts) on the CPU.

    Names may have the prefixes `model.` and `module.`, and the state_dict may stand in a dict under one of WRAPPERS.

    Args:
        file: opened, at its beginning.
        path: what the error names.
        expected: the network's tensors by name, on the meta device.

    Raises:
        InvalidModelDirectoryError: the file is not one of these weights; with what was found and expected.
    """
    _check_size(file, path, expected)
    state = torch_files.load(file, path, InvalidModelDirectoryError, ADVICE)
    found = _by_plain_names(state, path)
    _check_names(path, found, expected)
    weights = {name: _plain(path, name, found[name], tensor) for name, tensor in expected.items()}
    others = sorted({str(found[name].dtype) for name, tensor in expected.items() if found[name].dtype != tensor.dtype})
    if others:
        say(f"note: {path} has weights of {', '.join(others)}; they are converted")
    return weights


def _check_size(file: BinaryIO, path: Path, expected: Mapping[str, Tensor]) -> None:
    size, needed = file.seek(0, 2), sum(tensor.nbytes for tensor in expected.values())
    if size > TIMES * needed + SLACK:
        raise InvalidModelDirectoryError(f"{path} has {size:,} bytes, this network's weights about {needed:,}; {ADVICE}")
    if size == 0:
        raise InvalidModelDirectoryError(f"{path} is empty; copy the folder again")


def _by_plain_names(state: Any, path: Path) -> dict[str, Tensor]:
    """A state_dict by the network's own names."""
    if isinstance(state, dict) and not any(isinstance(value, Tensor) for value in state.values()):
        state = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict):
        raise InvalidModelDirectoryError(f"{path} holds a {type(state).__name__}, expected a state_dict of tensors; {ADVICE}")
    other = next(((key, value) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))), None)
    if other is not None or not state:
        found = f"{str(other[0])[:100]!r} is a {type(other[1]).__name__}" if other else "it is empty"
        raise InvalidModelDirectoryError(f"{path} is not a state_dict of tensors: {found}; {ADVICE}")
    return {PREFIXES.sub("", name): tensor for name, tensor in state.items()}


def _check_names(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unexpected:
        raise InvalidModelDirectoryError(
            f"{path} does not fit the network of the spec: {len(missing)} missing, such as {missing[:5]}, "
            f"{len(unexpected)} unexpected, such as {[name[:100] for name in unexpected[:5]]}"
        )
    wrong = [name for name, tensor in expected.items() if found[name].shape != tensor.shape]
    if wrong:
        shapes = ", ".join(f"{name} {list(found[name].shape)} (expected {list(expected[name].shape)})" for name in wrong[:5])
        raise InvalidModelDirectoryError(f"{path} has {len(wrong)} tensors of another shape: {shapes}")


def _plain(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """A tensor of plain numbers in the kind that the network has."""
    kinds = FLOATS if expected.is_floating_point() else INTEGERS
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in kinds:
        raise InvalidModelDirectoryError(
            f"{path}: {name} is {tensor.dtype} ({tensor.layout}, {tensor.device.type}), expected plain {expected.dtype}; {ADVICE}"
        )
    plain = tensor.detach().to(expected.dtype).contiguous()
    if not plain.isfinite().all():
        raise InvalidModelDirectoryError(f"{path}: {name} has values that are not finite; train the model again")
    return plain
