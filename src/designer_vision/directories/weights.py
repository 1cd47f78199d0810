"""The weights of a model folder: read through a gate, since a file that torch.save wrote is a program until it is looked at.

What a file must be before torch sees it: a zip whose members are stored as they are and no larger than the file, with one pickle
that names nothing but tensors. What its tensors must be afterwards: those of the network, by name, shape and kind, all finite.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from designer_vision.console import say
from designer_vision.errors import InvalidModelDirectoryError

NAMES_OF_TENSORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")),
}
"""All that the pickle of a state_dict names."""
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the state_dict, with an optimizer's or an epoch beside it."""
PREFIXES = re.compile(r"^(?:module\.|model\.)+")
"""Of DistributedDataParallel and of the classic module."""
MOST_MEMBERS, MOST_PICKLE, MOST_OPERATIONS = 20_000, 8 * 2**20, 2_000_000
SLACK, TIMES = 32 * 2**20, 6
"""How much longer than its weights a file may be: float64, or an optimizer's state beside them."""
ADVICE = "save one with torch.save(network.state_dict(), path)"
BEGINNINGS = {
    b"\x80": "a pickle, as torch before 1.6 and pickle.dump write it; load it where it was made and save it again",
    b"\x1f\x8b": "a .gz file",
    b"<": "an HTML or XML page",
    b"{": "JSON text",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself",
}


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
    _check_archive(file, path)
    file.seek(0)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler and zip reader do
        raise InvalidModelDirectoryError(f"{path} is damaged ({type(error).__name__}); copy the folder again") from error
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


def _check_archive(file: BinaryIO, path: Path) -> None:
    """Refuse, without unpacking anything, what torch.save does not write."""
    try:
        with zipfile.ZipFile(file) as packed:
            members = packed.infolist()
            _check_members(path, members, file.seek(0, 2))
            pickled = next(member for member in members if member.filename.endswith("/data.pkl"))
            _check_pickle(path, packed.read(pickled))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError, RuntimeError) as error:
        file.seek(0)
        start = file.read(200)
        found = next((text for begin, text in BEGINNINGS.items() if start.startswith(begin)), "")
        if start[8:9] == b"{":
            found = "a safetensors file; load it and save its tensors"
        reason = f"it is {found}" if found else f"it is cut short or something else ({error})"
        raise InvalidModelDirectoryError(f"{path} is not a zip as torch.save writes it: {reason}; {ADVICE}") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    names = {member.filename for member in members}
    parts = {name.partition("/")[2] for name in names}
    if "constants.pkl" in parts or any(part.startswith("code/") for part in parts):
        raise InvalidModelDirectoryError(f"{path} is a TorchScript program, not weights; {ADVICE}")
    if {"archive_format", "archive_version"} & (parts | names):
        raise InvalidModelDirectoryError(f"{path} is a program that torch.export wrote, not weights; {ADVICE}")
    if sum(name.endswith("/data.pkl") for name in names) != 1 or len(names) != len(members) or len(names) > MOST_MEMBERS:
        raise InvalidModelDirectoryError(f"{path} is a zip, but not one that torch.save wrote; {ADVICE}")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise InvalidModelDirectoryError(
                f"{path}: {member.filename!r} is compressed or encrypted, which torch.save does not do; {ADVICE}"
            )
    if sum(member.file_size for member in members) > size:
        raise InvalidModelDirectoryError(f"{path} says that it holds more than its {size:,} bytes; copy the folder again")
    if any(member.file_size > MOST_PICKLE for member in members if member.filename.endswith("/data.pkl")):
        raise InvalidModelDirectoryError(f"{path} has a pickle of more than {MOST_PICKLE:,} bytes beside its tensors; {ADVICE}")


def _check_pickle(path: Path, content: bytes) -> None:
    """Look at the pickle's operations, of which none is carried out."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if count > MOST_OPERATIONS:
            raise InvalidModelDirectoryError(f"{path} has a pickle of more than {MOST_OPERATIONS:,} operations; {ADVICE}")
        if operation.name in ("INST", "OBJ", "STACK_GLOBAL", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
            raise InvalidModelDirectoryError(f"{path} makes objects when it is loaded ({operation.name}); {ADVICE}")
        if operation.name == "GLOBAL" and argument not in NAMES_OF_TENSORS:
            raise InvalidModelDirectoryError(
                f"{path} holds more than tensors: it names {str(argument).replace(' ', '.')[:200]}; {ADVICE}"
            )


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
