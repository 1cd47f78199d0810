"""Folders of images that nobody converted yet: COCO, class folders, or images alone; what is not used is counted."""

from __future__ import annotations

import codecs
import os
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec

from designer_vision import files
from designer_vision.description import MOST_JSON, from_json
from designer_vision.directories import left_out as leaving
from designer_vision.directories.class_folders import TwoReadingsError, read_classes
from designer_vision.directories.image_index import ImageIndex, ImageInfo, Row, index_rows
from designer_vision.directories.left_out import LeftOut, readable
from designer_vision.directories.manifest import MANIFEST
from designer_vision.errors import InvalidDatasetError
from designer_vision.images import BEGINNING, format_of

DEEPEST = 100
MOST_COCO = 2 * 2**30
"""Bytes of a COCO file; that of COCO itself has half a billion."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Of images for a classic reader."""
IMAGE_SUFFIXES = SUFFIXES | {".jfif", ".jpe", ".pbm", ".pnm", ".gif", ".avif", ".heic", ".heif"}
TIFF_SUFFIXES = frozenset({".tif", ".tiff", ""})
"""Raw files of cameras begin like TIFF, and their small preview would be taken for the photo."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2")
LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
OPENED_AT_ONCE, LOT = 32, 50


def read_plain_folder(folder: Path) -> ImageIndex:
    """Read a COCO `*.json` beside its images, class folders, or unlabelled images, at any depth.

    What is an image, its content decides where the suffix does not. Which folders are classes, `read_classes` says. Links, hidden
    files and all that is no image are not used, and counted in the index's `left_out`.

    Raises:
        InvalidDatasetError: the folder can be read in two ways, or the COCO file is broken or contradicts itself.
    """
    left_out: LeftOut = {}
    annotations = [path for path in sorted(folder.glob("*.json")) if _is_coco(path)]
    names = sorted(_image_names(folder, left_out))
    if annotations:
        rows, notes = _coco_rows(annotations)
        listed = {posixpath.normpath(row.image_info.name) for row in rows}
        for name in names:
            if name not in listed:
                leaving.count(left_out, leaving.UNLISTED, name)
        return replace(index_rows(folder, rows, True), left_out=left_out, notes=notes)
    try:
        reading = read_classes(names)
    except TwoReadingsError as error:
        raise InvalidDatasetError(f"{folder} can be read in two ways: {error}") from error
    if any(label and not label.strip() for label in reading.labels):
        raise InvalidDatasetError(f"{folder} has a class folder whose name is blank; rename it")
    for name, used in zip(names, reading.used, strict=True):
        if not used:
            leaving.count(left_out, leaving.OUTSIDE, name)
    rows_used = (
        Row(ImageInfo(file_name=name.removeprefix(reading.entered)), readable(label) or None)
        for name, label, used in zip(names, reading.labels, reading.used, strict=True)
        if used
    )
    index = index_rows(folder / reading.entered, rows_used, reading.has_classes)
    return replace(index, left_out=left_out, notes=tuple(map(readable, reading.notes)))


def is_image(name: str) -> bool:
    """Whether a file's suffix, in any case, is an image's."""
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_archive(name: str) -> bool:
    """Whether a file's name ends like an archive's."""
    return name.lower().endswith(ARCHIVES)


def looks_packed(path: Path) -> bool:
    """Whether a file's name, or else its content, begins like an archive; unpacking it tells the rest."""
    if is_archive(path.name):
        return True
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith((b"PK\3\4", b"\x1f\x8b", b"BZh")) or start[257:262] == b"ustar"


def unwrap(folder: Path) -> Path:
    """Enter folders around a finished ImageDirectory, a COCO file or archives; around images `read_plain_folder` does."""
    inner = folder
    while not (inner / MANIFEST).exists():
        entries = visible(inner)
        if len(entries) != 1 or not entries[0].is_dir():
            return inner if any(entry.suffix == ".json" for entry in entries) or only_archives(inner) else folder
        inner = entries[0]
    return inner


def only_archives(folder: Path) -> list[Path]:
    """The archives of a folder that has neither folders nor images."""
    entries = visible(folder)
    packed = [entry for entry in entries if entry.is_file() and is_archive(entry.name)]
    return [] if any(entry.is_dir() or is_image(entry.name) for entry in entries) else packed


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, without what systems leave there."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name not in LITTER)


def _image_names(folder: Path, left_out: LeftOut) -> Iterator[str]:
    """The images below a folder, in any order; all else is counted."""
    unknown: list[str] = []
    for name in _files(folder, left_out):
        if is_image(name):
            yield name
        else:
            unknown.append(name)
    lots = [unknown[start : start + LOT] for start in range(0, len(unknown), LOT)]
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:  # a mount takes long to open a file, a disk does not: many at once, in lots
        for lot, found in zip(lots, pool.map(lambda lot: _are_images(folder, lot), lots), strict=True):
            for name, is_one in zip(lot, found, strict=True):
                if is_one:
                    yield name
                else:
                    leaving.count(left_out, leaving.kind_of(name), name)


def _files(folder: Path, left_out: LeftOut) -> Iterator[str]:
    """The plain files below a folder by their relative names; what is no such file is counted."""
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        if prefix.count("/") > DEEPEST:
            raise InvalidDatasetError(f"{folder / prefix[:200]}… is more than {DEEPEST} folders deep; move the images up")
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except PermissionError:
            if not prefix:
                raise
            leaving.count(left_out, leaving.CLOSED, prefix + "x")
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith(".") or entry.name in LITTER:
                leaving.count(left_out, leaving.HIDDEN, name)
            elif entry.is_symlink():
                leaving.count(left_out, leaving.LINKS, name)
            elif entry.is_dir(follow_symlinks=False):
                prefixes.append(f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                leaving.count(left_out, leaving.NO_FILES, name)


def _are_images(folder: Path, names: Sequence[str]) -> list[bool]:
    return [_is_image_inside(f"{folder}/{name}") for name in names]


def _is_image_inside(path: str) -> bool:
    """Whether a file's content is an image, whatever its name."""
    try:
        descriptor = os.open(path, files.OPENING)
    except OSError:
        return False  # counted by its suffix, as what it is cannot be told
    try:
        found = format_of(os.read(descriptor, BEGINNING))
    finally:
        os.close(descriptor)
    return found is not None and (found != "TIFF" or posixpath.splitext(path)[1].lower() in TIFF_SUFFIXES)


# COCO


def _is_coco(path: Path) -> bool:
    """Whether a JSON file is meant as COCO, readable or not: it names images, and their annotations or categories."""
    content = _read(path)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.replace(b"\0", b"")
    return b'"images"' in content and (b'"annotations"' in content or b'"categories"' in content)


def _read(path: Path) -> bytes:
    return files.read(path.parent, path.name, InvalidDatasetError, MOST_COCO)


class _CocoImage(msgspec.Struct):
    id: int
    file_name: str


class _CocoAnnotation(msgspec.Struct):
    image_id: int
    category_id: int


class _CocoCategory(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation] = []
    categories: list[_CocoCategory] = []


def _coco_rows(paths: Sequence[Path]) -> tuple[list[Row], tuple[str, ...]]:
    """A row for each file that the COCO files list, and what is worth saying of them."""
    rows: dict[str, Row] = {}
    notes = []
    for path in paths:
        coco, checked = _parsed(path)
        if not checked:
            notes.append(f"{path.name} is too long to be searched for keys that are there twice")
        labels = _coco_labels(path, coco)
        file_names: dict[int, str] = {}
        for image in coco.images:
            if file_names.setdefault(image.id, image.file_name) != image.file_name:
                raise InvalidDatasetError(
                    f"{path}: the id {image.id} is that of {file_names[image.id]!r} and {image.file_name!r}; give each its own"
                )
            label = labels.get(image.id)
            before = rows.setdefault(image.file_name, Row(ImageInfo(file_name=image.file_name), label))
            if label is not None and before.category not in (None, label):
                raise InvalidDatasetError(
                    f"{path}: {image.file_name!r} has the labels {before.category!r} and {label!r}; "
                    "only a single label an image can be used"
                )
            before.category = before.category or label
        if again := len(coco.images) - len({image.file_name for image in coco.images}):
            notes.append(f"{path.name} lists {again:,} files more than once; each is used once")
    return list(rows.values()), tuple(notes)


def _parsed(path: Path) -> tuple[_Coco, bool]:
    """A COCO file, and whether keys that are there twice, of which the last one would count, would have been refused."""
    content, expected = _read(path), "COCO's images, annotations and categories"
    if len(content) <= MOST_JSON:
        return from_json(content, _Coco, path, InvalidDatasetError, expected), True
    try:
        return msgspec.json.decode(content.removeprefix(codecs.BOM_UTF8), type=_Coco), False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InvalidDatasetError(f"{path}: {cause}; expected {expected}") from cause


def _coco_labels(path: Path, coco: _Coco) -> dict[int, str]:
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
                "only a single label an image can be used"
            )
    return labels
