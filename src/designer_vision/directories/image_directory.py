"""ImageDirectory: labelled or unlabelled images, as the classic designer lays them out.

    _meta.yaml       type, the names of the files below, our additions
    images.lst       a JSON object a line: {"image_info": {"file_name": "image/0_0.jpg", ...}, "category": "dog", "id": 0}
    _schema.json     the columns; a `category` column with an annotation_type makes the directory labelled
    _samples.json    up to 3 rows with their image as base64 text
    image/           <category id>_<running number><suffix>

We add to `image_info` the keys width, height (pixels, as seen after EXIF orientation), content_hash and
original_file_name; a classic reader ignores them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from designer_vision.directories.image_index import ImageIndex, Operations, Row
from designer_vision.directories.image_list import read_image_list
from designer_vision.directories.manifest import (
    MANIFEST,
    Manifest,
    publishing,
    read_manifest,
    read_verified,
    refuse_unfinished,
    verified,
    write_json,
    write_manifest,
)
from designer_vision.directories.plain_folder import SUFFIXES, read_plain_folder
from designer_vision.errors import InvalidDatasetError

TYPE = "ImageDirectory"
IMAGE_LIST, SCHEMA, SAMPLES, IMAGE_FOLDER = "images.lst", "_schema.json", "_samples.json", "image"

# Reading


def read_image_directory(folder: Path, original_names: bool = False) -> ImageIndex:
    """Read an ImageDirectory, or a plain folder of images, without touching the images.

    A folder without `_meta.yaml` is a COCO `*.json` beside the images, class sub-folders (depth exactly one), or
    unlabelled images at any depth, in this order.

    Args:
        folder: that a port was connected to.
        original_names: whether the index shall hold them; who copies rows needs them, and a million of them are 50 MB.

    Raises:
        InvalidDatasetError: the folder is unfinished or broken or has no images; with file and line.
    """
    refuse_unfinished(folder, InvalidDatasetError)
    index = _read_classic(folder, original_names) if (folder / MANIFEST).exists() else _read_plain(folder)
    if not len(index):
        raise InvalidDatasetError(f"{folder} has no images; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return index


def _read_classic(folder: Path, original_names: bool) -> ImageIndex:
    manifest = read_manifest(folder, TYPE, InvalidDatasetError)
    list_name = manifest.files.get("image_list", IMAGE_LIST)
    path = verified(folder, list_name, manifest, InvalidDatasetError)
    return read_image_list(path, folder, _is_labeled(folder, manifest), manifest.ours, original_names)


def _is_labeled(folder: Path, manifest: Manifest) -> bool:
    name = manifest.files.get("schema", SCHEMA)
    try:
        schema = json.loads(read_verified(folder, name, manifest, InvalidDatasetError).decode("utf-8-sig"))
        columns = schema["columnAttributes"]
        return any("annotation_type" in (column.get("properties") or {}) for column in columns)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise InvalidDatasetError(f"{folder / name} is not a schema with columnAttributes: {cause}") from cause


def _read_plain(folder: Path) -> ImageIndex:
    if (folder / IMAGE_LIST).exists():
        raise InvalidDatasetError(f"{folder} has {IMAGE_LIST} but no {MANIFEST}: it is unfinished; run that step again")
    return read_plain_folder(folder)


# Writing


class ImageDirectoryWriter:
    """Writes an ImageDirectory row by row; the manifest comes last, and only if no exception passes.

    Use as a context manager. `classes` are all label names (empty: unlabelled); `transformation` and
    `random_operations` are recorded for the trainer.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        transformation: Operations | None = None,
        random_operations: Operations | None = None,
    ) -> None:
        self.folder = folder
        self.classes = tuple(sorted(classes))
        self._ours = {"transformation": transformation or [], "random_operations": random_operations or []}
        self._numbers = {name: number for number, name in enumerate(self.classes)}
        self._count = 0
        self._samples: list[dict[str, Any]] = []
        self._publishing = publishing(folder)
        self._list: BinaryIO

    def __enter__(self) -> ImageDirectoryWriter:
        self._publishing.__enter__()
        (self.folder / IMAGE_FOLDER).mkdir()
        self._list = (self.folder / IMAGE_LIST).open("wb")
        return self

    def add(self, content: bytes, suffix: str, row: Row) -> None:
        """Write an image's bytes under its new name, and its row (of `row`, all but the name and id is kept)."""
        number = self._numbers[row.category] if row.category is not None else 0
        name = f"{IMAGE_FOLDER}/{number}_{self._count}{suffix.lower()}"
        (self.folder / name).write_bytes(content)
        info = msgspec.structs.replace(row.image_info, file_name=name, base_file_name=None)
        line = Row(info, row.category, self._count)
        self._list.write(msgspec.json.encode(line) + b"\n")
        if len(self._samples) < 3:
            sample = {"image": base64.b64encode(content).decode(), "id": self._count}
            self._samples.append(sample | ({"category": row.category} if row.category is not None else {}))
        self._count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._list.close()
        if error is None:
            write_json(self.folder / SCHEMA, schema(self.classes))
            write_json(self.folder / SAMPLES, self._samples)
            files = {"image_list": IMAGE_LIST, "samples": SAMPLES, "schema": SCHEMA}
            write_manifest(self.folder, Manifest(TYPE, files, self._ours), hashed=files.values())
        self._publishing.__exit__(kind, error, trace)


def schema(classes: Sequence[str]) -> dict[str, Any]:
    """The content of `_schema.json`, with a `category` column where there are classes."""

    def column(name: str, kind: str, type_name: str, feature: bool, properties: dict[str, Any]) -> dict[str, Any]:
        element = {"typeName": type_name, "isNullable": False}
        return {"name": name, "type": kind, "isFeature": feature, "elementType": element, "properties": properties}

    columns = [column("image", "Bytes", "bytes", True, {"mime_type": "image/png", "image_ref": "image_info"})]
    if classes:
        categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        annotation = {"annotation_type": "COCO_classification", "categories": categories}
        columns.append(column("category", "String", "str", False, annotation))
    columns.append(column("id", "Numeric", "int64", False, {}))
    return {"columnAttributes": columns}
