"""Folders of images that nobody converted yet: COCO, class sub-folders, or images alone."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from designer_vision import files
from designer_vision.directories.image_index import ImageIndex, ImageInfo, Row, index_rows
from designer_vision.errors import InvalidDatasetError

DEEPEST = 100
MOST_COCO = 2 * 2**30
"""Bytes of a COCO file; that of COCO itself has half a billion."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})


def read_plain_folder(folder: Path) -> ImageIndex:
    """Read a COCO `*.json` beside its images, class sub-folders (depth exactly one), or unlabelled images at any depth.

    Sub-folders are classes where at least two of them hold images, or where all images are in one; images beside
    them do not count then, as in torchvision's ImageFolder. Names that begin with a dot are passed over.

    Raises:
        InvalidDatasetError: the COCO file is broken or gives an image two labels.
    """
    annotations = [path for path in sorted(folder.glob("*.json")) if _is_coco(path)]
    if annotations:
        return index_rows(folder, _coco_rows(annotations), True)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    by_class = {entry.name: sorted(_image_names(entry, deep=False)) for entry in entries if entry.is_dir()}
    classes = [name for name, names in by_class.items() if names]
    if len(classes) > 1 or (classes and not any(is_image(entry.name) for entry in entries)):
        rows = (_plain_row(f"{label}/{name}", label) for label in classes for name in by_class[label])
        return index_rows(folder, rows, True)
    names = sorted(_image_names(folder, deep=True))
    return index_rows(folder, (_plain_row(name, None) for name in names), False)


def _is_coco(path: Path) -> bool:
    """Whether a JSON file is meant as COCO, readable or not: it names images, and their annotations or categories."""
    content = _read(path)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.replace(b"\0", b"")
    return b'"images"' in content and (b'"annotations"' in content or b'"categories"' in content)


def _read(path: Path) -> bytes:
    return files.read(path.parent, path.name, InvalidDatasetError, MOST_COCO)


def is_image(name: str) -> bool:
    """Whether a file's suffix, in any case, is one of the formats' list."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith("._")


def _plain_row(name: str, label: str | None) -> Row:
    return Row(ImageInfo(file_name=name), None if label is None else readable(label))


def readable(name: str) -> str:
    """A file's name as text: one that is not UTF-8 is of an older system, and taken for Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


def _image_names(folder: Path, deep: bool, prefix: str = "") -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep and entry.name != "__MACOSX" and not entry.name.startswith("."):
                    if prefix.count("/") > DEEPEST:
                        raise InvalidDatasetError(f"{entry.path[:200]}… is more than {DEEPEST} folders deep; move the images up")
                    yield from _image_names(Path(entry.path), deep, f"{prefix}{entry.name}/")
            elif is_image(entry.name):
                yield prefix + entry.name


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


def _coco_rows(paths: Sequence[Path]) -> Iterator[Row]:
    for path in paths:
        try:
            coco = msgspec.json.decode(_read(path).removeprefix(codecs.BOM_UTF8), type=_Coco)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise InvalidDatasetError(f"{path}: {cause}; expected COCO's images, annotations and categories") from cause
        names = {category.id: category.name for category in coco.categories}
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
        for image in coco.images:
            yield Row(ImageInfo(file_name=image.file_name), labels.get(image.id))
