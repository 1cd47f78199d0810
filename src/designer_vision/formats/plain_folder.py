"""Plain image folders: files of labels, class folders, or images alone; what is not used is counted."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from designer_vision.data.images import BEGINNING, format_of
from designer_vision.formats import left_out as leaving
from designer_vision.formats.class_folders import Reading, TwoReadingsError, read_classes
from designer_vision.formats.coco import is_coco
from designer_vision.formats.image_index import ImageIndex, ImageInfo, Row, index_rows
from designer_vision.formats.label_files import MLTABLE, LabelFile, find_label_files, in_words
from designer_vision.formats.labelled_images import LabelledImages, label_images
from designer_vision.formats.left_out import LeftOut, readable
from designer_vision.formats.manifest import MANIFEST
from designer_vision.runtime import files
from designer_vision.runtime.errors import FileSystemError, InvalidDatasetError
from designer_vision.runtime.machine import is_far
from designer_vision.runtime.settings import Settings

DEEPEST = 100
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Of images for a classic reader."""
IMAGE_SUFFIXES = SUFFIXES | {".jfif", ".jpe", ".pbm", ".pnm", ".gif", ".avif", ".heic", ".heif"}
TIFF_SUFFIXES = frozenset({".tif", ".tiff", ""})
"""Raw files of cameras begin like TIFF, and their small preview would be taken for the photo."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2")
LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
OPENED_AT_ONCE, LOT = 32, 50
A_FOLDER, A_FILE = "a folder", "a file"


def read_plain_folder(folder: Path) -> ImageIndex:
    """Read a COCO `*.json` beside images, class folders, another file of labels, or unlabelled images, at any depth.

    What is an image, its content decides where the suffix does not. Which folders are classes, `read_classes` says; what is a
    file of labels, `find_label_files` does. Links, hidden files and all that is not used are counted in the index's `left_out`.

    Raises:
        InvalidDatasetError: the folder can be read in two ways, or a file of labels is broken or contradicts itself.
    """
    left_out: LeftOut = {}
    images, others = _survey(folder, left_out)
    coco = [LabelFile(path.name, "coco") for path in sorted(folder.glob("*.json")) if is_coco(folder, path.name)]
    by_folder = _ByFolder.of(folder, images)
    if coco:
        found = _Found(label_images(folder, coco, images), frozenset(source.name for source in coco))
    else:
        found = _other_label_files(folder, images, others, by_folder)
    for name in others:
        if name not in found.used:
            leaving.count(left_out, leaving.kind_of(name), name)
    index = _index_of_labelled(folder, images, found.labelled, left_out) if found.labelled else by_folder.index(left_out)
    return replace(index, left_out=left_out, notes=(*index.notes, *map(readable, found.notes)))


@dataclass(frozen=True)
class _Found:
    """What label files say.

    Attributes:
        labelled: the images; None where their folders count.
        used: names of files that are not left out.
        notes: what to say of them.
    """

    labelled: LabelledImages | None
    used: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _ByFolder:
    """What the folders alone say of some images: their reading, or why there is none."""

    folder: Path
    names: Sequence[str]
    reading: Reading | None
    error: InvalidDatasetError | None

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> _ByFolder:
        try:
            reading = read_classes(names)
        except TwoReadingsError as error:
            refused = InvalidDatasetError(f"{folder} can be read in two ways: {error}")
            refused.__cause__ = error
            return cls(folder, names, None, refused)
        if any(label and not label.strip() for label in reading.labels):
            return cls(folder, names, None, InvalidDatasetError(f"{folder} has a class folder whose name is blank; rename it"))
        return cls(folder, names, reading, None)

    @property
    def labels(self) -> dict[str, str]:
        """Of each image its class, where there are several classes: a single one may be no class."""
        pairs = zip(self.names, self.reading.labels, strict=True) if self.reading else ()
        labels = {name: label for name, label in pairs if label}
        return labels if len(set(labels.values())) > 1 else {}

    def index(self, left_out: LeftOut) -> ImageIndex:
        """The images with the classes of their folders; what lies outside these is counted."""
        if self.reading is None:
            raise self.error or AssertionError("one of the two is there")
        reading, used = self.reading, []
        for name, label, is_used in zip(self.names, reading.labels, reading.used, strict=True):
            if is_used:
                used.append(Row(ImageInfo(file_name=name.removeprefix(reading.entered)), readable(label) or None))
            else:
                leaving.count(left_out, leaving.OUTSIDE, name)
        index = index_rows(self.folder / reading.entered, used, reading.has_classes)
        return replace(index, notes=tuple(map(readable, reading.notes)))


def _other_label_files(folder: Path, images: Sequence[str], others: Sequence[str], by_folder: _ByFolder) -> _Found:
    """What label files say, where that counts and not the folders.

    Raises:
        InvalidDatasetError: they cannot be read, and no class folders give the labels; or these give others.
    """
    by_folders = by_folder.labels
    try:
        label_files, tables = find_label_files(folder, others)
        labelled = label_images(folder, label_files, images)
    except InvalidDatasetError as error:
        if not by_folders:
            raise
        return _Found(None, notes=[f"the class folders give the labels, and a file of labels is not used: {error.message}"])
    if not any(labelled.labels.values()):
        return _Found(None, notes=labelled.notes)
    used = frozenset({*tables, *(source.name for source in labelled.sources)})
    if not by_folders:
        return _Found(labelled, used)
    names = in_words(labelled.sources)
    other = next(
        ((name, label) for name, label in labelled.labels.items() if label and by_folders.get(name, label) != label), None
    )
    if other is None:
        return _Found(None, used, [f"the labels of {names} are those of the class folders, which are used"])
    name, label = other
    differs = f"{name!r} is {by_folders[name]!r} according to its folder and {label!r} according to {names}"
    if MLTABLE in tables:  # in the folder itself: somebody says that this is what the folder is
        return _Found(labelled, used, [f"{differs}; the labels of {names} are used, as {MLTABLE} says"])
    raise InvalidDatasetError(
        f"{folder} can be read in two ways: {differs}; to use the folders, remove {names}; to use {names}, "
        + _how_to_choose(folder, labelled.sources)
    )


def _how_to_choose(folder: Path, sources: Sequence[LabelFile]) -> str:
    """What makes label files count more than class folders."""
    if all(source.kind == "coco" for source in sources):
        return f"move it to {folder} itself"
    paths = ", ".join(f"{{file: ./{source.name}}}" for source in sources if source.kind != "coco")
    return f"write the line `paths: [{paths}]` to the file {folder / MLTABLE}"


def _index_of_labelled(folder: Path, images: Sequence[str], labelled: LabelledImages, left_out: LeftOut) -> ImageIndex:
    """The images that label files name; the others are counted, and so are names without an image."""
    sources = labelled.sources
    if all(source.kind == "coco" for source in sources):
        unlisted = leaving.UNLISTED
    else:
        unlisted = f"images that {in_words(sources)} does not name" if len(sources) == 1 else leaving.UNNAMED
    for name in images:
        if name not in labelled.labels:
            leaving.count(left_out, unlisted, name)
    if labelled.not_found:
        leaving.count(left_out, leaving.NOT_FOUND, "x", labelled.not_found)
    index = index_rows(folder, labelled.rows(), True)
    return replace(
        index,
        notes=tuple(map(readable, labelled.notes)),
        labels_from=readable(in_words(sources)),
        not_found=tuple(labelled.not_found_listed),
    )


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


def unwrap(folder: Path) -> tuple[Path, list[Path]]:
    """Enter folders around a finished ImageDirectory, a COCO file or archives; around images `read_plain_folder` does.

    Returns:
        The folder, and the archives in it where it has neither folders nor images.
    """
    inner = folder
    while not (inner / MANIFEST).exists():
        entries = visible(inner)
        if len(entries) != 1 or not entries[0].is_dir():
            packed = [inner / entry.name for entry in entries if is_archive(entry.name) and entry.is_file()]
            if any(is_image(entry.name) or entry.is_dir() for entry in entries):
                packed = []
            return inner if packed or any(entry.name.endswith(".json") for entry in entries) else folder, packed
        inner = inner / entries[0].name
    return inner, []


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, without what systems leave there, by name; what each is, the listing itself tells."""
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".") and entry.name not in LITTER),
            key=lambda entry: entry.name,
        )


def _survey(folder: Path, left_out: LeftOut) -> tuple[list[str], list[str]]:
    """The images below a folder, sorted, and the other plain files; what else is there is counted."""
    images: list[str] = []
    unknown: list[str] = []
    others: list[str] = []
    pool = ThreadPoolExecutor(OPENED_AT_ONCE)  # a mount takes long to list a folder or open a file: many at once
    try:
        for name in _files(folder, left_out, pool if is_far(folder) else None):
            (images if is_image(name) else unknown).append(name)
        lots = [unknown[start : start + LOT] for start in range(0, len(unknown), LOT)]  # a disk does not take long
        for lot, found in zip(lots, pool.map(lambda lot: _are_images(folder, lot), lots), strict=True):
            for name, is_one in zip(lot, found, strict=True):
                (images if is_one else others).append(name)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a listing that is never answered is not waited for
    return sorted(images), others


def _files(folder: Path, left_out: LeftOut, pool: Executor | None) -> Iterator[str]:
    """The plain files below a folder by their relative names; what is no such file is counted.

    Args:
        folder: that is looked through.
        left_out: that is added to.
        pool: lists several folders at a time; for those that are near this one thread is faster.

    Raises:
        FileSystemError: a folder is not listed in time.
    """
    seconds = Settings.from_environment().patience.total_seconds()

    def listing(prefix: str) -> Callable[[], list[tuple[str, str]]]:
        if pool is None:
            return partial(_listed, folder, prefix)
        return partial(pool.submit(_listed, folder, prefix).result, seconds)

    listings = [("", listing(""))]
    while listings:
        prefix, entries_of = listings.pop()
        try:
            entries = entries_of()
        except PermissionError:
            if not prefix:
                raise
            leaving.count(left_out, leaving.CLOSED, prefix + "x")
            continue
        except TimeoutError as error:
            raise FileSystemError(f"{folder / prefix} has not been listed within {seconds:.0f} s; check the mount") from error
        for name, kind in entries:
            if kind == A_FOLDER:
                listings.append((f"{name}/", listing(f"{name}/")))
            elif kind == A_FILE:
                yield name
            else:
                leaving.count(left_out, kind, name)


def _listed(folder: Path, prefix: str) -> list[tuple[str, str]]:
    """The names in a folder, sorted, and what each is: A_FOLDER, A_FILE, or why it is left out."""
    if prefix.count("/") > DEEPEST:
        raise InvalidDatasetError(f"{folder / prefix[:200]}… is more than {DEEPEST} folders deep; move the images up")
    with os.scandir(folder / prefix) as entries:
        return [(prefix + entry.name, _kind_of_entry(entry)) for entry in sorted(entries, key=lambda entry: entry.name)]


def _kind_of_entry(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith(".") or entry.name in LITTER:
        return leaving.HIDDEN
    if entry.is_symlink():
        return leaving.LINKS
    if entry.is_dir(follow_symlinks=False):
        return A_FOLDER
    return A_FILE if entry.is_file(follow_symlinks=False) else leaving.NO_FILES


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
