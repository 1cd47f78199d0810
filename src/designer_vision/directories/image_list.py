"""images.lst to an index: a fast reader for what writers write, and a strict one that names the line it cannot read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from designer_vision.directories.image_index import NO_LABEL, ImageIndex, Row, Texts, assemble, hash_bytes, index_rows
from designer_vision.errors import InvalidDatasetError

BLOCK = 4 * 2**20
INFO = {
    "file_name": pa.string(),
    "base_file_name": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "content_hash": pa.string(),
    "original_file_name": pa.string(),
}
ROW = pa.schema([("image_info", pa.struct(list(INFO.items()))), ("category", pa.string()), ("id", pa.int64())])
OUTSIDE = r"^$|^/|(^|/)\.\.(/|$)|\x00"
"""Names that do not stay inside the folder."""


def read_image_list(folder: Path, name: str, content: bytes, labeled: bool, recorded: Mapping[str, Any]) -> ImageIndex:
    """The index of an image list.

    Args:
        folder, name: of the list; names in it are relative to the folder.
        content: its bytes.
        labeled: whether categories are labels.
        recorded: the operations that the folder's manifest records.

    Raises:
        InvalidDatasetError: with the line that is no row.
    """
    try:
        return _read_fast(folder, content, labeled, recorded)
    except (pa.ArrowException, _NotPlainError, UnicodeDecodeError):
        return index_rows(folder, _rows(folder / name, content), labeled, recorded)


class _NotPlainError(Exception):
    """A row that only the strict reader can judge."""


def _read_fast(folder: Path, content: bytes, labeled: bool, recorded: Mapping[str, Any]) -> ImageIndex:
    """Read in blocks with Arrow's parser; a million rows never become a million objects."""
    names, originals = _TextsBuilder(), _TextsBuilder()
    labels: list[npt.NDArray[np.int32]] = []
    sizes: list[npt.NDArray[np.int32]] = []
    ids: list[npt.NDArray[np.int64]] = []
    hashes: list[npt.NDArray[np.uint8]] = []
    found: dict[str, int] = {}
    options = pj.ParseOptions(explicit_schema=ROW, unexpected_field_behavior="ignore")
    count = 0
    with pj.open_json(pa.BufferReader(content), pj.ReadOptions(block_size=BLOCK), options) as batches:
        for batch in batches:
            info = dict(zip(INFO, batch.column("image_info").flatten(), strict=True))
            path = pc.if_else(pc.equal(pc.fill_null(info["base_file_name"], ""), ""), info["file_name"], info["base_file_name"])
            if path.null_count or pc.any(pc.match_substring_regex(path, OUTSIDE)).as_py():
                raise _NotPlainError
            names.add(path)
            originals.add(pc.fill_null(info["original_file_name"], ""))
            labels.append(_labels(batch.column("category"), labeled, found))
            sides = [_integers(info[side], 0) for side in ("height", "width")]
            sizes.append(np.maximum(np.column_stack(sides), 0).astype(np.int32))
            places = np.arange(count, count + len(batch))
            given = batch.column("id")
            ids.append(np.where(given.is_null().to_numpy(zero_copy_only=False), places, _integers(given, 0)))
            hashes.append(_hashes(pc.fill_null(info["content_hash"], "")))
            count += len(batch)
    pa.default_memory_pool().release_unused()  # the parser's blocks, which the index does not share
    return assemble(
        folder,
        found,
        np.concatenate(labels),
        np.concatenate(sizes),
        names.texts(),
        originals.texts(),
        np.concatenate(hashes),
        np.concatenate(ids).astype(np.int64),
        recorded,
    )


class _TextsBuilder:
    """Collects string arrays into Texts without making Python strings."""

    def __init__(self) -> None:
        self._content, self._lengths = bytearray(), [np.zeros(0, np.int64)]

    def add(self, texts: pa.StringArray) -> None:
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        if data is not None:
            self._content += memoryview(data)[ends[0] : ends[-1]]
        self._lengths.append(np.diff(ends).astype(np.int64))

    def texts(self) -> Texts:
        return Texts(bytes(self._content), np.cumsum(np.concatenate(self._lengths)))


def _labels(categories: pa.StringArray, labeled: bool, found: dict[str, int]) -> npt.NDArray[np.int32]:
    """Each row's number in `found`, which grows; NO_LABEL where it has none."""
    encoded = categories.dictionary_encode()
    if not labeled:
        return np.full(len(categories), NO_LABEL, np.int32)
    numbers = [found.setdefault(name, len(found)) if name.strip() else NO_LABEL for name in encoded.dictionary.to_pylist()]
    labels: npt.NDArray[np.int32] = np.array([*numbers, NO_LABEL], np.int32)[_integers(encoded.indices, -1)]
    return labels


def _integers(values: pa.Array, missing: int) -> npt.NDArray[Any]:
    filled: npt.NDArray[Any] = pc.fill_null(values, missing).to_numpy(zero_copy_only=False)
    return filled


def _hashes(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    if (lengths == 32).all():
        builder = _TextsBuilder()
        builder.add(texts)
        try:
            return np.frombuffer(bytes.fromhex(builder.texts().content.decode()), np.uint8).reshape(-1, 16)
        except ValueError:
            pass  # some are not hexadecimal: one by one
    return np.frombuffer(b"".join(hash_bytes(text) for text in texts.to_pylist()), np.uint8).reshape(-1, 16)


def _rows(path: Path, content: bytes) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(Row)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise InvalidDatasetError(
                f"{path} line {number}: {cause}; expected an object such as "
                '{"image_info": {"file_name": "image/0_0.jpg"}, "category": "dog", "id": 0}'
            ) from cause
        name = row.image_info.name
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise InvalidDatasetError(f"{path} line {number}: the file name {name!r} is not one inside the folder")
        yield row
