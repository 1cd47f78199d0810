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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from designer_vision.data.images import FORMATS
from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_index import ImageIndex, Row
from designer_vision.formats.left_out import LINKS, LeftOut, in_words, readable, shortened
from designer_vision.formats.manifest import (
    MANIFEST,
    Extension,
    Manifest,
    Operations,
    Weighting,
    publishing,
    read_manifest,
    read_verified,
    refuse_unfinished,
    verified,
    write_json,
    write_manifest,
)
from designer_vision.formats.plain_folder import SUFFIXES, read_plain_folder
from designer_vision.runtime.console import say
from designer_vision.runtime.description import MOST_JSON, from_json
from designer_vision.runtime.errors import InvalidDatasetError

TYPE = "ImageDirectory"
CATEGORY, ANNOTATION = "category", "COCO_classification"
ABOUT_LINKS = "links are not followed: `cp -rL` makes a copy with the files that they lead to"
IMAGE_LIST, SCHEMA, SAMPLES, IMAGE_FOLDER = "images.lst", "_schema.json", "_samples.json", "image"

# Reading


def read_image_directory(folder: Path, original_names: bool = False) -> ImageIndex:
    """Read an ImageDirectory, or a plain folder of images, without touching the images.

    A folder without `_meta.yaml` is a COCO `*.json` beside the images, class folders, or unlabelled images, at any depth.

    Args:
        folder: that a port was connected to.
        original_names: whether the index shall hold them; who copies rows needs them, and a million of them are 50 MB.

    Raises:
        InvalidDatasetError: the folder is unfinished or broken or has no images; with file and line.
    """
    refuse_unfinished(folder, InvalidDatasetError)
    try:
        index = _read_classic(folder, original_names) if (folder / MANIFEST).exists() else _read_plain(folder)
    except OSError as cause:
        raise InvalidDatasetError(f"{folder} cannot be read: {cause}; check read permissions") from cause
    if not len(index):
        found = f"; it holds {in_words(index.left_out)}" if index.left_out else ""
        raise InvalidDatasetError(f"{folder} has no images{found}; {_advice(index.left_out)}")
    return index


def _advice(left_out: LeftOut) -> str:
    if LINKS in left_out:
        return ABOUT_LINKS
    return f"expected files in the formats {', '.join(FORMATS)}"


def tell_reading(index: ImageIndex) -> None:
    """Say how a plain folder was read, and what in it is not used; nothing of a folder that a component wrote, which said so."""
    if (index.folder / MANIFEST).exists():
        return
    for note in index.notes:
        say(f"warning: {index.folder}: {note}")
    if index.left_out:
        say(f"warning: not used in {index.folder}: {told(index.left_out)}")


def told(left_out: LeftOut) -> str:
    """What was left out, in words, and what to do about links."""
    return in_words(left_out) + (f" ({ABOUT_LINKS})" if LINKS in left_out else "")


def _read_classic(folder: Path, original_names: bool) -> ImageIndex:
    from designer_vision.formats.image_list import read_image_list  # loads Arrow, which nothing else here needs

    manifest = read_manifest(folder, TYPE, InvalidDatasetError)
    lists = manifest.ours.transformation, manifest.ours.random_operations
    done, left = (_checked(operations, folder) for operations in lists)
    recorded = msgspec.structs.replace(manifest.ours, transformation=done, random_operations=left)
    name = manifest.image_list or IMAGE_LIST
    verified(folder, name, manifest, InvalidDatasetError)
    classes = _classes_of_schema(folder, manifest)
    index = read_image_list(folder, name, classes is not None, recorded, original_names)
    return replace(index, unused_classes=tuple(sorted(set(classes or ()) - set(index.classes))))


def _checked(operations: Operations, folder: Path) -> Operations:
    """Operations that `transforms.check` knows; it takes seconds to load, so only where there are some."""
    if not operations:
        return []
    from designer_vision.data import transforms

    return transforms.check(operations, folder / MANIFEST, InvalidDatasetError)


class _Category(msgspec.Struct):
    name: str


class _Properties(msgspec.Struct):
    annotation_type: str | None = None
    categories: list[_Category] = []
    image_ref: str | None = None


class _Column(msgspec.Struct):
    name: str
    type: str | None = None
    properties: _Properties | None = None


class _Schema(msgspec.Struct):
    columns: list[_Column] = msgspec.field(name="columnAttributes")


def _classes_of_schema(folder: Path, manifest: Manifest) -> list[str] | None:
    """The names of the classes that the schema has; None where it makes the directory unlabelled."""
    name = manifest.schema or SCHEMA
    path = folder / name
    content = read_verified(folder, name, manifest, InvalidDatasetError, MOST_JSON)
    columns = from_json(content, _Schema, path, InvalidDatasetError).columns
    for column in columns:
        properties = column.properties or _Properties()
        image_ref, annotation = properties.image_ref, properties.annotation_type
        if image_ref not in (None, "image_info"):
            raise InvalidDatasetError(f"{path}: images are in the column {image_ref!r}, expected image_info")
        if annotation is None:
            continue
        if annotation != ANNOTATION or column.type not in (None, "String"):
            raise InvalidDatasetError(
                f"{path}: the column {column.name!r} has the annotation_type {annotation!r} and type {column.type!r}, expected "
                f"{ANNOTATION!r} and 'String': only one label per image can be used"
            )
        if column.name != CATEGORY:
            raise InvalidDatasetError(f"{path}: labels are in the column {column.name!r}, expected {CATEGORY!r}")
        return [category.name for category in properties.categories]
    return None


def _read_plain(folder: Path) -> ImageIndex:
    if (folder / IMAGE_LIST).exists():
        raise InvalidDatasetError(f"{folder} has {IMAGE_LIST} but no {MANIFEST}: it is unfinished; run that step again")
    return read_plain_folder(folder)


# Writing


class ImageDirectoryWriter:
    """Writes an ImageDirectory row by row; the manifest comes last, and only if no exception passes.

    Use as a context manager. `classes` are all label names (empty: unlabelled); `transformation`,
    `random_operations` and `weighting` are recorded for the trainer, `left_out` for people; it may grow until the end.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        transformation: Operations | None = None,
        random_operations: Operations | None = None,
        weighting: Weighting = "none",
        left_out: LeftOut | None = None,
    ) -> None:
        self.folder = folder
        self.classes = tuple(sorted(classes))
        self._ours = Extension(
            transformation=transformation or [], random_operations=random_operations or [], weighting=weighting
        )
        self._left_out = {} if left_out is None else left_out
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
        name = f"{IMAGE_FOLDER}/{number}_{self._count}{suffix.lower() if suffix.lower() in SUFFIXES else ''}"
        (self.folder / name).write_bytes(content)
        given = row.image_info.original_file_name or readable(row.image_info.name)
        original = None if given.startswith(f"{IMAGE_FOLDER}/") else given or None  # what a component called it nobody looks for
        info = msgspec.structs.replace(row.image_info, file_name=name, base_file_name=None, original_file_name=original)
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
            ours = msgspec.structs.replace(self._ours, left_out=shortened(self._left_out))
            manifest = Manifest(TYPE, ours, image_list=IMAGE_LIST, samples=SAMPLES, schema=SCHEMA)
            write_manifest(self.folder, manifest, hashed=[IMAGE_LIST, SAMPLES, SCHEMA])
        self._publishing.__exit__(kind, error, trace)


def copy(index: ImageIndex, numbers: Sequence[int], writer: ImageDirectoryWriter, on_image: Callable[[], object]) -> None:
    """Write some of the images as they are, in that order.

    Raises:
        InvalidDatasetError: one cannot be read.
    """
    with reading(index, numbers) as read:
        for number in numbers:
            writer.add(read(number), index.path(number).suffix, index.row(number))
            on_image()


def schema(classes: Sequence[str]) -> dict[str, Any]:
    """The content of `_schema.json`, with a `category` column where there are classes."""

    def column(name: str, kind: str, type_name: str, feature: bool, properties: dict[str, Any]) -> dict[str, Any]:
        element = {"typeName": type_name, "isNullable": False}
        return {"name": name, "type": kind, "isFeature": feature, "elementType": element, "properties": properties}

    columns = [column("image", "Bytes", "bytes", True, {"mime_type": "image/png", "image_ref": "image_info"})]
    if classes:
        categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        annotation = {"annotation_type": ANNOTATION, "categories": categories}
        columns.append(column(CATEGORY, "String", "str", False, annotation))
    columns.append(column("id", "Numeric", "int64", False, {}))
    return {"columnAttributes": columns}
