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
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from designer_vision import images
from designer_vision.directories.manifest import (
    MANIFEST,
    Manifest,
    contained,
    publishing,
    read_manifest,
    read_verified,
    refuse_unfinished,
    write_manifest,
)
from designer_vision.errors import InvalidDatasetError, NotLabeledDatasetError

TYPE = "ImageDirectory"
IMAGE_LIST, SCHEMA, SAMPLES, IMAGE_FOLDER = "images.lst", "_schema.json", "_samples.json", "image"
PROBES = 64
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
NO_LABEL = -1

Operations = list[list[Any]]


class ImageInfo(msgspec.Struct, omit_defaults=True):
    """Where an image is and what was seen when it was decoded (0 and "" where nobody looked)."""

    file_name: str = ""
    base_file_name: str = ""
    width: int = 0
    height: int = 0
    content_hash: str = ""
    original_file_name: str = ""


class Row(msgspec.Struct, omit_defaults=True):
    """One line of images.lst."""

    image_info: ImageInfo
    category: str | None = None
    id: int | str | None = None


@dataclass(frozen=True)
class Texts:
    """Many short texts as one string of bytes, and int64 [n] where each of them ends."""

    content: bytes
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        return cls(b"".join(encoded), np.cumsum([len(text) for text in encoded], dtype=np.int64))

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.content[start : int(self.ends[index])].decode("utf-8", "surrogateescape")

    def subset(self, indices: npt.NDArray[np.integer[Any]]) -> Texts:
        return Texts.of([self[int(index)] for index in indices])


@dataclass(frozen=True)
class ImageIndex:
    """All rows of an ImageDirectory in a few arrays, so that a million images are not a million objects.

    Attributes:
        folder: the directory that the names are relative to.
        classes: label names, sorted; a label's index here is its number everywhere in this package.
        labels: int32 [n], an index into `classes`, or NO_LABEL.
        sizes: int32 [n, 2], height and width in pixels, 0 where not recorded.
        names: the file names, relative to the folder.
        original_names: what the person called the files, empty where nobody recorded it.
        ids: int64 [n], the rows' own, or their place in the list where they have none or text.
        hashes: all content hashes, 16 bytes each, zero where not recorded: uint8 [n, 16].
        random_operations: what Apply Image Transformation left to be drawn anew in every epoch.
        transformation: the deterministic operations that the images have been through.
    """

    folder: Path
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    names: Texts
    original_names: Texts
    hashes: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.int64]
    random_operations: Operations = field(default_factory=list)
    transformation: Operations = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        """The path of an image, checked to stay inside the folder."""
        return contained(self.folder, self.names[index], InvalidDatasetError)

    def row(self, index: int) -> Row:
        """The row of an image as it stands, or would stand, in images.lst."""
        height, width = (int(side) for side in self.sizes[index])
        label = int(self.labels[index])
        content_hash = self.hashes[index].tobytes()
        info = ImageInfo(
            file_name=self.names[index],
            width=width,
            height=height,
            content_hash=content_hash.hex() if any(content_hash) else "",
            original_file_name=self.original_names[index],
        )
        return Row(info, None if label == NO_LABEL else self.classes[label], int(self.ids[index]))

    @property
    def is_labeled(self) -> bool:
        return bool(self.classes)

    def known_sizes(self) -> list[tuple[int, int]]:
        """The different heights and widths of the images: as recorded, else of 64 evenly spaced ones' headers."""
        if len(self) and self.sizes.all():
            return [(int(height), int(width)) for height, width in np.unique(self.sizes, axis=0)]
        probed = np.unique(np.linspace(0, len(self) - 1, num=min(PROBES, len(self)), dtype=np.int64))
        return sorted({images.size(images.read(self.path(int(i))), self.path(int(i))) for i in probed})

    def labeled(self) -> ImageIndex:
        """The rows that have a label.

        Raises:
            NotLabeledDatasetError: none has.
        """
        if not self.is_labeled or not (self.labels != NO_LABEL).any():
            raise NotLabeledDatasetError(
                f"{self.folder} has no labels; put the images of each class in a folder with the class's name "
                "and run Convert to Image Directory"
            )
        return self.subset(np.flatnonzero(self.labels != NO_LABEL))

    def subset(self, indices: npt.NDArray[np.integer[Any]]) -> ImageIndex:
        """The rows at `indices`, in that order."""
        return replace(
            self,
            labels=self.labels[indices],
            sizes=self.sizes[indices],
            names=self.names.subset(indices),
            original_names=self.original_names.subset(indices),
            hashes=self.hashes[indices],
            ids=self.ids[indices],
        )

    def relabeled(self, classes: tuple[str, ...], labels: npt.NDArray[np.int32]) -> ImageIndex:
        """The same rows with other classes, and each row's number in them."""
        return replace(self, classes=classes, labels=labels)


# Reading


def read_image_directory(folder: Path) -> ImageIndex:
    """Read an ImageDirectory, or a plain folder of images, without touching the images.

    A folder without `_meta.yaml` is a COCO `*.json` beside the images, class sub-folders (depth exactly one), or
    unlabelled images at any depth, in this order.

    Raises:
        InvalidDatasetError: the folder is unfinished or broken or has no images; with file and line.
    """
    refuse_unfinished(folder, InvalidDatasetError)
    index = _read_classic(folder) if (folder / MANIFEST).exists() else _read_plain(folder)
    if not len(index):
        raise InvalidDatasetError(f"{folder} has no images; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return index


def _read_classic(folder: Path) -> ImageIndex:
    manifest = read_manifest(folder, TYPE, InvalidDatasetError)
    list_name = manifest.files.get("image_list", IMAGE_LIST)
    lines = read_verified(folder, list_name, manifest, InvalidDatasetError)
    labeled = _is_labeled(folder, manifest)
    return _index(folder, _rows(folder / list_name, lines), labeled, manifest)


def _is_labeled(folder: Path, manifest: Manifest) -> bool:
    name = manifest.files.get("schema", SCHEMA)
    try:
        schema = json.loads(read_verified(folder, name, manifest, InvalidDatasetError).decode("utf-8-sig"))
        columns = schema["columnAttributes"]
        return any("annotation_type" in (column.get("properties") or {}) for column in columns)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise InvalidDatasetError(f"{folder / name} is not a schema with columnAttributes: {cause}") from cause


def _rows(path: Path, lines: bytes) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(Row)
    for number, line in enumerate(lines.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise InvalidDatasetError(
                f"{path} line {number}: {cause}; expected an object such as "
                '{"image_info": {"file_name": "image/0_0.jpg"}, "category": "dog", "id": 0}'
            ) from cause
        name = row.image_info.base_file_name or row.image_info.file_name
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise InvalidDatasetError(f"{path} line {number}: the file name {name!r} is not one inside the folder")
        yield row


def _index(folder: Path, rows: Iterable[Row], labeled: bool, source: Manifest | None) -> ImageIndex:
    names: list[str] = []
    original_names: list[str] = []
    labels: list[int] = []
    ids: list[int] = []
    sizes: list[tuple[int, int]] = []
    hashes = bytearray()
    found: dict[str, int] = {}
    for row in rows:
        info = row.image_info
        names.append(info.base_file_name or info.file_name)
        original_names.append(info.original_file_name)
        has_label = labeled and row.category is not None and row.category.strip() != ""
        labels.append(found.setdefault(row.category or "", len(found)) if has_label else NO_LABEL)
        ids.append(row.id if isinstance(row.id, int) else len(ids))
        sizes.append((info.height, info.width))
        hashes += _hash_bytes(info.content_hash)
    classes = tuple(sorted(found))
    numbers = {name: number for number, name in enumerate(classes)}
    by_name = np.array([*(numbers[name] for name in found), NO_LABEL], dtype=np.int32)
    ours: Mapping[str, Any] = source.ours if source else {}
    return ImageIndex(
        folder,
        classes,
        by_name[np.array(labels, dtype=np.int32)],
        np.array(sizes, dtype=np.int32).reshape(-1, 2),
        Texts.of(names),
        Texts.of(original_names),
        np.frombuffer(bytes(hashes), dtype=np.uint8).reshape(-1, 16),
        np.array(ids, dtype=np.int64),
        list(ours.get("random_operations", [])),
        list(ours.get("transformation", [])),
    )


def _hash_bytes(text: str) -> bytes:
    try:
        content = bytes.fromhex(text)
    except ValueError:
        content = b""
    return content if len(content) == 16 else bytes(16)


def _read_plain(folder: Path) -> ImageIndex:
    if (folder / IMAGE_LIST).exists():
        raise InvalidDatasetError(f"{folder} has {IMAGE_LIST} but no {MANIFEST}: it is unfinished; run that step again")
    annotations = sorted(folder.glob("*.json"))
    if annotations:
        return _index(folder, _coco_rows(annotations), True, None)
    class_folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if class_folders and not any(is_image(entry.name) for entry in folder.iterdir()):
        by_class = [(entry.name, sorted(_image_names(entry, deep=False))) for entry in class_folders]
        if any(names for _, names in by_class):
            rows = (_plain_row(f"{label}/{name}", label) for label, names in by_class for name in names)
            return _index(folder, rows, True, None)
    names = sorted(_image_names(folder, deep=True))
    return _index(folder, (_plain_row(name, None) for name in names), False, None)


def is_image(name: str) -> bool:
    """Whether a file's suffix, in any case, is one of the formats' list."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith("._")


def _plain_row(name: str, label: str | None) -> Row:
    return Row(ImageInfo(file_name=name), label)


def _image_names(folder: Path, deep: bool, prefix: str = "") -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep and entry.name != "__MACOSX":
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


def _coco_rows(files: Sequence[Path]) -> Iterator[Row]:
    for path in files:
        try:
            coco = msgspec.json.decode(path.read_bytes(), type=_Coco)
        except (msgspec.DecodeError, UnicodeDecodeError) as cause:
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
        info = msgspec.structs.replace(row.image_info, file_name=name, base_file_name="")
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


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file as UTF-8 text."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
