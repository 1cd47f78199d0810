"""Inputs that are almost right: bytes changed, cut, doubled and spliced, with what tends to break parsers of each kind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

Mutate = Callable[[bytes], bytes]

NUMBERS = [
    b"0",
    b"-1",
    b"1e400",
    b"NaN",
    b"2147483648",
    b"9223372036854775808",
    b"9" * 40,
    b"1.5",
    b"true",
    b"null",
    b'""',
    b"\xef\xbc\x91",
]
TEXTS = [
    b"../../x",
    b"/etc/passwd",
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xe2\x80\xae",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b":",
    b",",
]
JSON = [*NUMBERS, *TEXTS, b'{"a":1,"a":2}', b"[" * 300, b'{"a":' * 300, b"Infinity"]
YAML = [*NUMBERS, *TEXTS, b"&a [*a]", b"*a", b"!!python/object/apply:os.system [id]", b"<<: ", b"---\n", b"\t", b"? ", b"- ", b"# ", b"| ", b"> ",
        b"12:30:45", b"2026-11-23", b"010", b"no", b"~", b"!!binary x", b"%YAML 9.9\n"]  # fmt: skip
PIPELINE = [b"${{parent.inputs.epochs}}", b"${{parent.jobs.train.outputs.trained_model}}", b"file:", b"component: ", b"jobs:\n", b"type: pipeline\n",
            b"./pipeline.yaml", b"conda_file: ", b"0x" + b"f" * 5000, b"1:59:59", b"2026-99-99", b"1.0e+999", b"x" * 300]  # fmt: skip
PICKLE = [b"cos\nsystem\n", b"ctorch\nload\n", b"cbuiltins\nexec\n", b"R", b"o", b"b", b"s", b"u", b"a", b"e", b"(", b")", b"]", b"}", b"t", b"Q",
          b"K\xff", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 8, b"q\x01", b"h\x01", b"2", b"0", b"N", b"X\xff\xff\xff\x7f"]  # fmt: skip
BINARY = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80\0\0\0", b"\1", b"PK\3\4", b"PK\5\6", b"../"]  # fmt: skip


class Mutator:
    """Changes an input in one to four places; the same seed, the same changes."""

    def __init__(self, seed: int, tokens: Sequence[bytes]) -> None:
        self._random = np.random.default_rng(seed)
        self._tokens = tokens

    def __call__(self, content: bytes) -> bytes:
        for _ in range(int(self._random.integers(1, 5))):
            content = self._change(content)
        return content

    def _place(self, content: bytes) -> int:
        return int(self._random.integers(0, len(content) + 1))

    def _change(self, content: bytes) -> bytes:
        start = self._place(content)
        length = int(2 ** self._random.uniform(0, 8))
        token = self._tokens[int(self._random.integers(len(self._tokens)))]
        kind = self._random.integers(8)
        if kind == 0 and content:  # a bit
            place = start % len(content)
            return content[:place] + bytes([content[place] ^ (1 << int(self._random.integers(8)))]) + content[place + 1 :]
        if kind == 1:
            return content[:start] + token + content[start:]
        if kind == 2:
            return content[:start] + token + content[start + len(token) :]
        if kind == 3:
            return content[:start] + content[start + length :]
        if kind == 4:
            return (
                content[:start] + content[start : start + length] * int(self._random.integers(2, 5)) + content[start + length :]
            )
        if kind == 5:
            other = self._place(content)
            return content[:start] + content[other : other + length] + content[start:]
        if kind == 6 and self._random.random() < 0.3:
            return content[:start]
        return content[:start] + self._random.bytes(min(length, 16)) + content[start + min(length, 16) :]


def of_members(mutate: Mutate, whole: Mutate, choice: np.random.Generator) -> Mutate:
    """Changes a member of a zip, which is packed again, or the zip's own bytes."""

    def changed(content: bytes) -> bytes:
        if choice.random() < 0.4:
            return whole(content)
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
            names = old.namelist()
            pickles = [name for name in names if name.endswith("data.pkl")] or names
            chosen = pickles[0] if choice.random() < 0.7 else names[int(choice.integers(len(names)))]
            for name in names:
                member = old.read(name)
                new.writestr(name, mutate(member) if name == chosen else member)
        return buffer.getvalue()

    return changed
