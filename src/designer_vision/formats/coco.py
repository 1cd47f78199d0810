"""COCO: a JSON file of images, their annotations and the categories of these, as Azure's Data Labeling exports it too."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import msgspec

from designer_vision.runtime import files
from designer_vision.runtime.description import MOST_JSON, from_json
from designer_vision.runtime.errors import InvalidDatasetError

MOST_COCO = 2 * 2**30
"""Bytes of a COCO file; that of COCO itself has half a billion."""
EXPECTED = "COCO's images, annotations and categories"
BLOCK, LONGEST_KEY = 2**20, 20


class CocoImage(msgspec.Struct):
    """An image; the addresses say where it lay when it was labelled."""

    id: int
    file_name: str
    coco_url: str | None = None
    absolute_url: str | None = None

    @property
    def locations(self) -> tuple[str, ...]:
        """What may tell which file it is, the best first."""
        return tuple(place for place in (self.file_name, self.coco_url, self.absolute_url) if place)


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[CocoImage]
    annotations: list[_Annotation] = []
    categories: list[_Category] = []


def is_coco(folder: Path, name: str) -> bool:
    """Whether a JSON file is meant as COCO, readable or not: it names images, and their annotations or categories."""
    images = labels = False
    end, begins_utf_16 = b"", False
    with files.opened(folder, name, InvalidDatasetError) as file:
        for number, block in enumerate(iter(lambda: file.read(BLOCK), b"")):
            begins_utf_16 = begins_utf_16 or (not number and block.startswith((b"\xff\xfe", b"\xfe\xff")))
            content = end + (block.replace(b"\0", b"") if begins_utf_16 else block)
            images = images or b'"images"' in content
            labels = labels or b'"annotations"' in content or b'"categories"' in content
            if images and labels:
                return True
            end = content[-LONGEST_KEY:]
    return False


def read_coco(folder: Path, name: str) -> tuple[Iterator[tuple[CocoImage, str | None]], list[str]]:
    """The images of a COCO file, each with its label where it has one, and what is worth saying of the file.

    Raises:
        InvalidDatasetError: it is broken or contradicts itself.
    """
    path = folder / name
    coco, checked = _parsed(folder, name)
    notes = [] if checked else [f"{name} is too long to be searched for duplicate keys"]
    labels = _labels(path, coco)
    file_names: dict[int, str] = {}
    for image in coco.images:
        if file_names.setdefault(image.id, image.file_name) != image.file_name:
            raise InvalidDatasetError(
                f"{path}: the id {image.id} is that of {file_names[image.id]!r} and {image.file_name!r}; give each its own"
            )
        if not image.locations:
            raise InvalidDatasetError(f"{path}: the image with the id {image.id} has no file_name; give it the name of its file")
    return ((image, labels.get(image.id)) for image in coco.images), notes


def _parsed(folder: Path, name: str) -> tuple[_Coco, bool]:
    """A COCO file, and whether keys that are there twice, of which the last one would count, would have been refused."""
    content = files.read(folder, name, InvalidDatasetError, MOST_COCO)
    path = folder / name
    if len(content) <= MOST_JSON:
        return from_json(content, _Coco, path, InvalidDatasetError, EXPECTED), True
    try:
        return msgspec.json.decode(content.removeprefix(codecs.BOM_UTF8), type=_Coco), False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InvalidDatasetError(f"{path}: {cause}; expected {EXPECTED}") from cause


def _labels(path: Path, coco: _Coco) -> dict[int, str]:
    """The label of each image that has one, by its id."""
    names: dict[int, str] = {}
    for category in coco.categories:
        if names.setdefault(category.id, category.name) != category.name:
            raise InvalidDatasetError(
                f"{path}: the category {category.id} is {names[category.id]!r} and {category.name!r}; give each its own id"
            )
    labels: dict[int, str] = {}
    for annotation in coco.annotations:
        label = names.get(annotation.category_id)
        if label is None:
            raise InvalidDatasetError(f"{path}: annotation with category_id {annotation.category_id}, not in categories")
        if labels.setdefault(annotation.image_id, label) != label:
            raise InvalidDatasetError(
                f"{path}: image {annotation.image_id} has the labels {labels[annotation.image_id]!r} and {label!r}; "
                "only one label per image can be used"
            )
    return labels
