"""Folders that a person names: what is there, what is in it, and which one was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import MANIFEST
from designer_vision.formats.plain_folder import is_archive
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, NotLabeledDatasetError, PipelineError

MOST_NAMED = 8


def check_images(folder: Path, needs_labels: bool, place: str) -> None:
    """Look at a folder of images as the steps will; what they have to say of it, they say.

    Raises:
        InvalidDatasetError, NotLabeledDatasetError: there are none, or not two classes of them for a training.
    """
    refuse_folders_around(folder, "ImageDirectory", place)
    try:
        trainable(folder) if needs_labels else read_image_directory(folder)
    except DesignerError as error:
        raise type(error)(f"{place}: {error.message}") from error


def trainable(folder: Path) -> ImageIndex:
    """The images of a folder that can be trained on.

    Raises:
        InvalidDatasetError, NotLabeledDatasetError: there are none, or not two classes of them.
    """
    index = read_image_directory(folder)
    if not index.is_labeled:
        raise NotLabeledDatasetError(
            f"{folder} has {len(index):,} images and no class folders; put the images of each class into a folder with its name, "
            "or add a CSV with the columns file_name and label"
        )
    if len(index.classes) < 2:
        raise InvalidDatasetError(
            f"{folder} has one class, {index.classes[0]!r}; at least two are needed to train, each in a folder of its own"
        )
    return index


def refuse_folders_around(folder: Path, kind: str, place: str) -> None:
    """Refuse the folder of a run, a step or its outputs where the one in it is meant.

    Raises:
        PipelineError: with the folders to give instead.
    """
    if (folder / MANIFEST).exists():
        return
    below = [path.parent for depth in ("*", "outputs/*", "*/outputs/*") for path in folder.glob(f"{depth}/{MANIFEST}")]
    found = sorted(path for path in below if _type_of(path) == kind)
    if found:
        raise PipelineError(f"{place} is {folder}, which is no {kind} but holds some; give one of: {', '.join(map(str, found))}")


def _type_of(folder: Path) -> str:
    """What a `_meta.yaml` begins with; its reader checks all of it."""
    try:
        with (folder / MANIFEST).open(encoding="utf-8", errors="replace") as file:
            first = file.readline(200)
    except OSError:
        return ""
    return first.removeprefix("type:").strip()


def nearest(path: Path) -> str:
    """What there is instead of a path that does not exist."""
    parent = next(parent for parent in path.parents if parent.is_dir())
    wanted = path.relative_to(parent).parts[0]
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() or is_archive(entry.name))
    if close := closest(wanted, names):
        return f"did you mean {parent / close}?"
    some = ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
    return f"{parent} has the folders {some}" if names else f"{parent} has no folders in it"


def closest(wanted: str, names: Iterable[str]) -> str:
    """The name that a misspelt one is nearest to; empty where none is near."""
    return next(iter(difflib.get_close_matches(wanted, list(names), n=1)), "")
