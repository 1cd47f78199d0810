"""images.lst to an index: a fast reader for what writers write, and a strict one that names the line it cannot read.

Arrow imports pandas, a third of a second, wherever it makes something of a Python value or gives an array to NumPy; so constants
and numbers go through its buffers here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from designer_vision.formats.image_index import NO_LABEL, ImageIndex, Row, Texts, hash_bytes, index_rows
from designer_vision.formats.manifest import Extension
from designer_vision.runtime import files
from designer_vision.runtime.description import from_json
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.runtime.machine import give_back_freed_memory

BLOCK = 2**20
INFO = {
    "file_name": pa.string(),
    "base_file_name": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "content_hash": pa.string(),
    "original_file_name": pa.string(),
}
ROW = pa.schema([("image_info", pa.struct(list(INFO.items()))), ("category", pa.string()), ("id", pa.int64())])
OUTSIDE = r"^[./]*$|^/|(^|/)\.\.(/|$)|\\|\x00"
"""Names that do not stay inside the folder, on Windows or elsewhere."""
LONGEST_LINE = 2**20
EXAMPLE = '{"image_info": {"file_name": "image/0_0.jpg"}, "category": "dog", "id": 0}'
NO_TEXT = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(8)), pa.py_buffer(b"")])[0]
MOST_BRACKETS = 1000
"""Opening ones in a line, on average over a block: more could be nested deeper than the stack of Arrow's parser is."""


def read_image_list(folder: Path, name: str, labeled: bool, recorded: Extension, original_names: bool = True) -> ImageIndex:
    """The index of an image list.

    Args:
        folder: what the names in the list are relative to.
        name: of the list.
        labeled: whether categories are labels.
        recorded: in the folder's manifest.
        original_names: whether the index shall hold them.

    Raises:
        InvalidDatasetError: the list cannot be read, or with the line that is no row.
    """
    try:
        return _read_fast(folder, name, labeled, recorded, original_names)
    except OSError as cause:
        raise InvalidDatasetError(f"{folder / name} cannot be read: {cause.strerror}; copy the folder again") from cause
    except (pa.ArrowException, _NotPlainError, UnicodeDecodeError):
        return index_rows(folder, _rows(folder, name), labeled, recorded)


class _NotPlainError(Exception):
    """A row that only the strict reader can judge."""


def _read_fast(folder: Path, name: str, labeled: bool, recorded: Extension, original_names: bool) -> ImageIndex:
    """Read in blocks with Arrow's parser, into arrays made once: a million rows never become a million objects."""
    lines = _count_rows(folder, name)
    names, originals = _TextsBuilder(lines), _TextsBuilder(lines)
    labels, sizes = np.empty(lines, np.int32), np.empty((lines, 2), np.int32)
    ids, hashes = np.empty(lines, np.int64), np.empty((lines, 16), np.uint8)
    found: dict[str, int] = {}
    known: dict[str, int] = {}
    options = pj.ParseOptions(explicit_schema=ROW, unexpected_field_behavior="ignore")
    pool = pa.system_memory_pool()  # gives back what it frees
    end = 0
    with (
        files.opened(folder, name, InvalidDatasetError) as file,
        pj.open_json(file, pj.ReadOptions(block_size=BLOCK), options, pool) as batches,
    ):
        for batch in batches:
            batch.validate(full=True)  # Arrow reads what is not UTF-8 as if it were
            info = dict(zip(INFO, batch.column("image_info").flatten(), strict=True))
            file_names = pc.if_else(
                pc.equal(pc.fill_null(info["base_file_name"], NO_TEXT), NO_TEXT), info["file_name"], info["base_file_name"]
            )
            if file_names.null_count or pc.any(pc.match_substring_regex(file_names, OUTSIDE)).as_py():
                raise _NotPlainError
            start, end = end, end + len(batch)
            if end > lines:  # two on one
                raise _NotPlainError
            names.add(file_names)
            originals.add(pc.fill_null(info["original_file_name"], NO_TEXT) if original_names else pa.repeat(NO_TEXT, len(batch)))
            labels[start:end] = _labels(batch.column("category"), labeled, found, known)
            for side, column in (("height", 0), ("width", 1)):
                sizes[start:end, column] = np.maximum(_integers(info[side], 0), 0)
            given = batch.column("id")
            ids[start:end] = np.where(_are_there(given), _integers(given, 0), np.arange(start, end))
            hashes[start:end] = _hashes(pc.fill_null(info["content_hash"], NO_TEXT))
    if end < lines or ((np.diff(ids[:end]) <= 0).any() and len(np.unique(ids[:end])) < end):
        raise _NotPlainError
    index = ImageIndex(
        folder,
        tuple(found),
        labels[:end],
        sizes[:end],
        names.texts(),
        originals.texts(),
        hashes[:end],
        ids[:end],
        list(recorded.random_operations),
        list(recorded.transformation),
        left_out=recorded.left_out,
        weighting=recorded.weighting,
    ).with_sorted_classes()
    give_back_freed_memory()  # the parser's blocks
    return index


def _count_rows(folder: Path, name: str) -> int:
    """The rows of a list that is as writers write it: an object a line.

    Raises:
        _NotPlainError: a line is blank or begins otherwise (Arrow's parser crashes at a first row that is null), something is
            nested too deeply for that parser, which calls itself, or may be no number.
    """
    ends = begins = 0
    before = b"\n"
    with files.opened(folder, name, InvalidDatasetError) as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            letters = np.frombuffer(before + block, np.uint8)
            line_ends = np.flatnonzero(letters[:-1] == ord("\n"))
            begins += int(np.count_nonzero(letters[line_ends + 1] == ord("{")))
            ends += (own := block.count(b"\n"))
            before = block[-1:]
            if max(block.count(b"["), block.count(b"{")) > MOST_BRACKETS * (own + 2) or _may_be_no_number(block):
                raise _NotPlainError
            if not own and len(block) == BLOCK:
                raise _NotPlainError
    rows = ends + (before != b"\n")
    if begins != rows:
        raise _NotPlainError
    return rows


def _may_be_no_number(block: bytes) -> bool:
    """Whether NaN or Infinity stands there; one letter is found much faster than a word, and these are rare."""
    return (b"N" in block and b"NaN" in block) or (b"I" in block and b"Infinity" in block)


class _TextsBuilder:
    """Collects string arrays into Texts without making Python strings."""

    def __init__(self, most: int) -> None:
        self._content, self._lengths, self._count = bytearray(), np.empty(most, np.uint32), 0

    def add(self, texts: pa.StringArray) -> None:
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        if data is not None:
            self._content += memoryview(data)[ends[0] : ends[-1]]
        self._lengths[self._count : self._count + len(texts)] = np.diff(ends)
        self._count += len(texts)

    def texts(self) -> Texts:
        return Texts.joined(bytes(self._content), self._lengths[: self._count])


def _labels(categories: pa.StringArray, labeled: bool, found: dict[str, int], known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Each row's number in `found`, which grows; NO_LABEL where it has none. `known` holds blank names too."""
    encoded = categories.dictionary_encode()
    if not labeled:
        return np.full(len(categories), NO_LABEL, np.int32)
    names = encoded.dictionary.to_pylist()
    for name in names:
        if name not in known:
            known[name] = found.setdefault(name, len(found)) if name.strip() else NO_LABEL
    numbers = [known[name] for name in names]
    labels: npt.NDArray[np.int32] = np.array([*numbers, NO_LABEL], np.int32)[_integers(encoded.indices, -1)]
    return labels


def _integers(values: pa.Array, missing: int) -> npt.NDArray[Any]:
    if values.null_count == len(values):
        return np.full(len(values), missing)
    numbers = np.frombuffer(values.buffers()[1], f"i{values.type.bit_width // 8}")[values.offset :][: len(values)]
    return np.where(_are_there(values), numbers, missing) if values.null_count else numbers


def _are_there(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether each is something, not null."""
    return np.frombuffer(pc.cast(values.is_valid(), pa.uint8()).buffers()[1], np.bool_, len(values))


def _hashes(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    lengths = _integers(pc.binary_length(texts), 0)
    if (lengths == 32).all():
        builder = _TextsBuilder(len(texts))
        builder.add(texts)
        try:
            return np.frombuffer(bytes.fromhex(builder.texts().content.decode()), np.uint8).reshape(-1, 16)
        except ValueError:
            pass  # some are not hexadecimal: one by one
    return np.frombuffer(b"".join(hash_bytes(text) for text in texts.to_pylist()), np.uint8).reshape(-1, 16)


def _rows(folder: Path, name: str) -> Iterator[Row]:
    ids: dict[int | str, int] = {}
    for number, line in files.lines(folder, name, InvalidDatasetError, longest=LONGEST_LINE):
        place = f"{folder / name} line {number}"
        row = from_json(line, Row, place, InvalidDatasetError, f"an object such as {EXAMPLE}")
        file_name = row.image_info.name
        if re.search(OUTSIDE.replace("$", r"\Z"), file_name):
            raise InvalidDatasetError(f"{place}: {file_name[:200]!r} is not the name of a file inside the folder")
        if row.id is not None and ids.setdefault(row.id, number) != number:
            raise InvalidDatasetError(f"{place}: the id {row.id} is also in line {ids[row.id]}; give every image its own")
        yield row
