"""Many images in a few arrays: what the readers of image folders give, and everything else works on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from designer_vision.data import images
from designer_vision.data.read_ahead import Reserve, reading
from designer_vision.formats.left_out import LeftOut
from designer_vision.formats.manifest import Extension, Operations, Weighting
from designer_vision.runtime import files
from designer_vision.runtime.description import to_json
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError

OUTLINED = 64
PROBES = 64
NO_LABEL = -1


class ImageInfo(msgspec.Struct, omit_defaults=True):
    """Where an image is and what was seen when it was decoded; None where nobody looked."""

    file_name: str | None = None
    base_file_name: str | None = None
    width: int | float | None = None
    height: int | float | None = None
    content_hash: str | None = None
    original_file_name: str | None = None

    @property
    def name(self) -> str:
        """The path of the image, relative to its folder; empty where there is none."""
        return self.base_file_name or self.file_name or ""


class Row(msgspec.Struct, omit_defaults=True):
    """One line of images.lst."""

    image_info: ImageInfo
    category: str | None = None
    id: int | str | None = None


@dataclass(frozen=True)
class Texts:
    """Many short texts as one string of bytes, and [n] where each of them ends."""

    content: bytes
    ends: npt.NDArray[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        return cls.joined(b"".join(encoded), np.array([len(text) for text in encoded], dtype=np.int64))

    @classmethod
    def joined(cls, content: bytes, lengths: npt.NDArray[np.integer[Any]]) -> Texts:
        """Texts that stand one behind the other, of these lengths in bytes."""
        return cls(content, np.cumsum(lengths, dtype=np.uint32 if len(content) < 2**32 else np.uint64))

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
        random_operations: what Apply Image Transformation left to be redrawn every epoch.
        transformation: the deterministic operations that the images have been through.
        unused_classes: names that the folder's schema has and no image.
        left_out: what lies in the folder, or lay where it was converted from, and is not used.
        notes: how a plain folder was read, where that is not plain to see.
        labels_from: the names of the label files that give the labels; empty where folders or an image list do.
        not_found: what a file of labels names and is not there, a sentence each.
        weighting: how much images of small classes count in a training.
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
    unused_classes: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    labels_from: str = ""
    not_found: tuple[str, ...] = ()
    weighting: Weighting = "none"

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        """The path of an image, to name it by; `read` is what reads it."""
        return self.folder / self.names[index]

    def name(self, index: int) -> str:
        """What the person called an image, or what it is called here."""
        return self.original_names[index] or self.names[index]

    def read(self, index: int, reserve: Reserve | None = None) -> bytes:
        """The bytes of an image.

        Args:
            index: of the image.
            reserve: told how many bytes there are, before they are read.

        Raises:
            InvalidDatasetError: it is missing, points outside the folder, is no plain file, or cannot be read.
        """
        return files.read(self.folder, self.names[index], InvalidDatasetError, images.MOST_BYTES, reserve)

    def row(self, index: int) -> Row:
        """The row of an image as it stands, or would stand, in images.lst."""
        height, width = (int(side) for side in self.sizes[index])
        label = int(self.labels[index])
        content_hash = self.hashes[index].tobytes()
        info = ImageInfo(
            file_name=self.names[index],
            width=width or None,
            height=height or None,
            content_hash=content_hash.hex() if any(content_hash) else None,
            original_file_name=self.original_names[index] or None,
        )
        return Row(info, None if label == NO_LABEL else self.classes[label], int(self.ids[index]))

    @property
    def fingerprint(self) -> str:
        """What tells two sets of images and labels apart: a hash of all columns, content hashes where there are some."""
        digest = hashlib.blake2b(digest_size=16)
        for column in (self.names.content, self.names.ends, self.labels, self.sizes, self.hashes, repr(self.classes).encode()):
            digest.update(column if isinstance(column, bytes) else np.ascontiguousarray(column).data)
        return digest.hexdigest()

    @property
    def outline(self) -> str:
        """JSON that tells where two sets differ: how many images, and of 64 parts how many, the first one's name, and a hash."""
        begins = np.unique(np.linspace(0, len(self), num=min(len(self), OUTLINED) + 1, dtype=np.int64))
        parts = []
        for begin, end in pairwise(begins):
            rows = slice(begin, end)
            texts = slice(int(self.names.ends[begin - 1]) if begin else 0, int(self.names.ends[end - 1]))
            digest = hashlib.blake2b(self.names.content[texts], digest_size=6)
            for column in (self.names.ends, self.labels, self.sizes, self.hashes):
                digest.update(np.ascontiguousarray(column[rows]).data)
            parts.append((int(end - begin), self.names[int(begin)], digest.hexdigest()))
        return to_json({"images": len(self), "parts": parts})

    @property
    def is_labeled(self) -> bool:
        return bool(self.classes)

    def known_sizes(self, strict: bool = True) -> list[tuple[int, int]]:
        """The different heights and widths of the images: as recorded, else of 64 evenly spaced ones' headers.

        Raises:
            InvalidDatasetError: one of these headers cannot be read; where not `strict`, it is passed over.
        """
        if len(self) and self.sizes.all():
            return [(int(height), int(width)) for height, width in np.unique(self.sizes, axis=0)]
        probed = np.unique(np.linspace(0, len(self) - 1, num=min(PROBES, len(self)), dtype=np.int64))
        sizes = set()
        with reading(self, probed.tolist()) as read:
            for row in map(int, probed):
                try:
                    sizes.add(images.size(read(row), self.path(row)))
                except InvalidDatasetError:
                    if strict:
                        raise
        return sorted(sizes)

    def all_sizes(self) -> npt.NDArray[np.int32]:
        """The height and width of each image, [n, 2]; where they were not recorded, the largest of `known_sizes` for all."""
        if self.sizes.all():
            return self.sizes
        largest = max(self.known_sizes(), key=lambda size: size[0] * size[1])
        return np.broadcast_to(np.array(largest, np.int32), (len(self), 2))

    def labeled(self) -> ImageIndex:
        """The rows that have a label.

        Raises:
            NotLabeledDatasetError: none has.
        """
        if not self.is_labeled:
            raise NotLabeledDatasetError(
                f"{self.folder} has no labels; put the images of each class in a folder with the class's name, "
                "or add a CSV with the columns file_name and label, and run Convert to Image Directory"
            )
        with_label = self.labels != NO_LABEL
        return self if with_label.all() else self.subset(np.flatnonzero(with_label))

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

    def with_sorted_classes(self) -> ImageIndex:
        """The same rows, where the classes stood in the order in which they were found."""
        classes = tuple(sorted(self.classes))
        numbers = {name: number for number, name in enumerate(classes)}
        by_name = np.array([*(numbers[name] for name in self.classes), NO_LABEL], dtype=np.int32)
        return self.relabeled(classes, by_name[self.labels])

    def relabeled(self, classes: tuple[str, ...], labels: npt.NDArray[np.int32]) -> ImageIndex:
        """The same rows with other classes, and each row's number in them."""
        return replace(self, classes=classes, labels=labels)


def index_rows(folder: Path, rows: Iterable[Row], labeled: bool, recorded: Extension | None = None) -> ImageIndex:
    """The index of some rows.

    Args:
        folder: what the rows' file names are relative to.
        rows: one an image.
        labeled: whether categories are labels.
        recorded: in the folder's manifest, where it has one.
    """
    names: list[str] = []
    original_names: list[str] = []
    labels: list[int] = []
    ids: list[int] = []
    sizes: list[tuple[int, int]] = []
    hashes = bytearray()
    found: dict[str, int] = {}
    for row in rows:
        info = row.image_info
        names.append(info.name)
        original_names.append(info.original_file_name or "")
        has_label = labeled and row.category is not None and row.category.strip() != ""
        labels.append(found.setdefault(row.category or "", len(found)) if has_label else NO_LABEL)
        ids.append(row.id if isinstance(row.id, int) and abs(row.id) < 2**63 else len(ids))
        sizes.append((_side(info.height), _side(info.width)))
        hashes += hash_bytes(info.content_hash or "")
    recorded = recorded or Extension()
    return ImageIndex(
        folder,
        tuple(found),
        np.array(labels, dtype=np.int32),
        np.array(sizes, dtype=np.int32).reshape(-1, 2),
        Texts.of(names),
        Texts.of(original_names),
        np.frombuffer(bytes(hashes), dtype=np.uint8).reshape(-1, 16),
        np.array(ids, dtype=np.int64),
        list(recorded.random_operations),
        list(recorded.transformation),
        left_out=recorded.left_out,
        weighting=recorded.weighting,
    ).with_sorted_classes()


def _side(pixels: float | None) -> int:
    return int(pixels) if pixels is not None and 0 < pixels < 2**31 else 0


def hash_bytes(text: str) -> bytes:
    """The 16 bytes of a content hash; zeros where the text is none."""
    try:
        content = bytes.fromhex(text)
    except ValueError:
        content = b""
    return content if len(content) == 16 else bytes(16)
