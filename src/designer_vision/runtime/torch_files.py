"""Files that torch.save wrote, looked at before torch loads them: each is a program until it is known to be none.

It must be a zip whose members are stored as they are and no larger than the file, with one pickle that names nothing but tensors.
"""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from designer_vision.runtime.errors import DesignerError

NAMES_OF_TENSORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")),
}
"""All that the pickle of tensors in plain containers names."""
PLAIN = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "NEWTRUE", "NEWFALSE", "NONE", "SHORT_BINSTRING"}
TUPLES = {"TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
TAKING = {"REDUCE": 2, "BINPERSID": 1, "BUILD": 1, "APPEND": 1, "APPENDS": 0}
"""Operations, and how many values each takes from the stack; APPENDS takes all down to the mark."""
LARGEST_TUPLE, DEEPEST = 1000, 20
MOST_MEMBERS, MOST_PICKLE, MOST_OPERATIONS = 20_000, 8 * 2**20, 2_000_000
BEGINNINGS = {
    b"\x80": "a pickle, as torch before 1.6 and pickle.dump write it; load it where it was made and save it again",
    b"\x1f\x8b": "a .gz file",
    b"<": "an HTML or XML page",
    b"{": "JSON text",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself",
}


def load(file: BinaryIO, path: Path, error: type[DesignerError], advice: str) -> Any:
    """What was given to torch.save: tensors, on the CPU, in plain containers. Nothing in the file is executed.

    Args:
        file: opened.
        path: what the error names.
        error: raised where the file is no such one.
        advice: the end of the error's message.
    """
    try:
        _check(file)
    except _RefusedError as cause:
        raise error(f"{path} {cause}; {advice}") from cause
    except MemoryError:
        raise
    except Exception as cause:  # zipfile and pickletools raise whatever damaged headers lead them into
        raise error(f"{path} is not a zip file written by torch.save: it is {_recognised(file, cause)}; {advice}") from cause
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):
            return plain(torch.load(file, map_location="cpu", weights_only=True))
    except MemoryError:
        raise
    except ValueError as cause:
        raise error(f"{path}: {cause}; {advice}") from cause
    except Exception as cause:  # torch raises whatever its unpickler and zip reader do
        raise error(f"{path} is damaged ({type(cause).__name__}); copy the folder again") from cause


class _RefusedError(Exception):
    """What is wrong with the file."""


def _recognised(file: BinaryIO, cause: Exception) -> str:
    file.seek(0)
    start = file.read(200)
    if start[8:9] == b"{":
        return "a safetensors file; load it and save its tensors"
    return next((kind for begin, kind in BEGINNINGS.items() if start.startswith(begin)), f"cut short or something else ({cause})")


def _check(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as packed:
        members = packed.infolist()
        pickled = _the_pickle(members, file.seek(0, 2))
        _check_pickle(packed.read(pickled))


def _the_pickle(members: list[zipfile.ZipInfo], size: int) -> zipfile.ZipInfo:
    """The member that says what the others are, in an archive of `size` bytes written by torch.save."""
    names = {member.filename for member in members}
    parts = {name.partition("/")[2] for name in names}
    if "constants.pkl" in parts or any(part.startswith("code/") for part in parts):
        raise _RefusedError("is a TorchScript program, not weights")
    if {"archive_format", "archive_version"} & (parts | names):
        raise _RefusedError("is a program that torch.export wrote, not weights")
    pickles = [member for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or len(names) != len(members) or len(names) > MOST_MEMBERS:
        raise _RefusedError("is a zip, but not one that torch.save wrote")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise _RefusedError(f"has the compressed or encrypted part {member.filename!r}, which torch.save never writes")
    if sum(member.file_size for member in members) > size:
        raise _RefusedError(f"says that it holds more than its {size:,} bytes")
    if pickles[0].file_size > MOST_PICKLE:
        raise _RefusedError(f"has a pickle of more than {MOST_PICKLE:,} bytes beside its tensors")
    return pickles[0]


def _check_pickle(content: bytes) -> None:
    """Go through the pickle's operations without carrying them out.

    Only those occur that tensors in plain containers need; what stands for a dict's key is a text or a whole number, and no
    tuple is larger than a tensor's description: a nested one could exhaust the stack or the time of whoever takes its hash.
    """
    stack: list[int | None] = []  # of each value how large it is: 0 a text or a number, None a mark
    memo: dict[Any, int | None] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        name = operation.name
        if count > MOST_OPERATIONS:
            raise _RefusedError(f"has a pickle of more than {MOST_OPERATIONS:,} operations")
        if name == "GLOBAL" and argument not in NAMES_OF_TENSORS:
            raise _RefusedError(f"holds more than tensors: it names {str(argument).replace(' ', '.')[:200]}")
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(None)
        elif name in PLAIN:
            stack.append(0)
        elif name in ("GLOBAL", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append(1)
        elif name in TUPLES:
            parts = _until_mark(stack) if name == "TUPLE" else _pop(stack, TUPLES[name])
            stack.append(1 + sum(parts))
            if (stack[-1] or 0) > LARGEST_TUPLE:
                raise _RefusedError("has a tuple that is larger than any tensor's description")
        elif name in ("SETITEM", "SETITEMS"):
            keys = (_until_mark(stack) if name == "SETITEMS" else _pop(stack, 2))[::2]
            if any(keys):
                raise _RefusedError("has a key that is neither a text nor a whole number")
        elif name in TAKING:
            taken = _until_mark(stack) if name == "APPENDS" else _pop(stack, TAKING[name])
            if name in ("REDUCE", "BINPERSID"):
                stack.append(len(taken))
        elif name not in ("PROTO", "STOP"):
            raise _RefusedError(f"makes objects when it is loaded ({name})")


def _pop(stack: list[int | None], count: int) -> list[int]:
    taken = stack[len(stack) - count :] if len(stack) >= count else [None]
    del stack[len(stack) - count :]
    if None in taken:
        raise _RefusedError("has a pickle that is cut short")
    return [size or 0 for size in taken]


def _until_mark(stack: list[int | None]) -> list[int]:
    taken: list[int] = []
    while (size := stack.pop()) is not None:
        taken.append(size)
    return taken[::-1]


def plain(value: Any, left: list[int] | None = None, depth: int = 0) -> Any:
    """The same value in dicts, lists and tuples of Python's own, whose tensors are no larger than what is stored of them.

    Raises:
        ValueError: it is something else, or nested without end.
    """
    left = [MOST_OPERATIONS] if left is None else left
    left[0] -= 1
    if depth > DEEPEST or left[0] < 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise ValueError(f"a tensor is {value.dtype} ({value.layout}, {value.device.type}), expected plain numbers")
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise ValueError(f"a tensor says that it is {list(value.shape)}, of which less is stored")
        return value.detach()
    if isinstance(value, dict):  # whatever attributes a stranger gave it
        return {key: plain(item, left, depth + 1) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        items = [plain(item, left, depth + 1) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"it holds a {type(value).__name__}")
