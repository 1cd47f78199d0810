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

from designer_vision.errors import DesignerError

NAMES_OF_TENSORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")),
}
"""All that the pickle of tensors in plain containers names."""
MAKING_OBJECTS = {"INST", "OBJ", "STACK_GLOBAL", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
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
        raise error(f"{path} is not a zip as torch.save writes it: it is {_recognised(file, cause)}; {advice}") from cause
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
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
    """The member that says what the others are, in an archive of `size` bytes that is as torch.save writes it."""
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
            raise _RefusedError(f"has the compressed or encrypted part {member.filename!r}, as torch.save does not write it")
    if sum(member.file_size for member in members) > size:
        raise _RefusedError(f"says that it holds more than its {size:,} bytes")
    if pickles[0].file_size > MOST_PICKLE:
        raise _RefusedError(f"has a pickle of more than {MOST_PICKLE:,} bytes beside its tensors")
    return pickles[0]


def _check_pickle(content: bytes) -> None:
    """Look at the pickle's operations, of which none is carried out."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if count > MOST_OPERATIONS:
            raise _RefusedError(f"has a pickle of more than {MOST_OPERATIONS:,} operations")
        if operation.name in MAKING_OBJECTS:
            raise _RefusedError(f"makes objects when it is loaded ({operation.name})")
        if operation.name == "GLOBAL" and argument not in NAMES_OF_TENSORS:
            raise _RefusedError(f"holds more than tensors: it names {str(argument).replace(' ', '.')[:200]}")
