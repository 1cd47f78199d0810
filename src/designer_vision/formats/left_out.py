"""What lies in a folder of images and is not used: counted by kind and by folder, so that nothing is dropped in silence."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping

LeftOut = dict[str, dict[str, int]]
"""By kind (`.svg`, `links`, `unreadable`) and folder: how many files."""
LINKS, HIDDEN, UNREADABLE, NO_FILES = "links", "hidden files", "unreadable", "pipes and devices"
CLOSED = "folders that cannot be read"
OUTSIDE, UNLISTED = "images outside the class folders", "images that the COCO file does not list"
UNNAMED = "images that the label files do not name"
NOT_FOUND = "images named in a label file but not found"
NO_SUFFIX = "without a suffix"
MOST_KINDS, MOST_FOLDERS, LONGEST = 30, 50, 300
"""In a record: a folder's `_meta.yaml` stays short, whatever lies there."""
OTHERS = "others"


def count(left_out: LeftOut, kind: str, name: str, files: int = 1) -> None:
    """Count a file that is not used, under the folder of its name."""
    folders = left_out.setdefault(readable(kind), {})
    folder = readable(posixpath.dirname(name) or ".")
    folders[folder] = folders.get(folder, 0) + files


def readable(name: str) -> str:
    """A file's name as text: one that is not UTF-8 is of an older system, and taken for Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


def kind_of(name: str) -> str:
    """What a file that holds no image is counted as: its suffix in small letters."""
    return posixpath.splitext(name)[1].lower()[:20] or NO_SUFFIX


def totals(left_out: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Files by kind, the most first."""
    numbers = {kind: sum(folders.values()) for kind, folders in left_out.items()}
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def in_words(left_out: Mapping[str, Mapping[str, int]]) -> str:
    """`41 .svg, 12 .ogg, 3 unreadable`; empty where nothing was left out."""
    numbers = totals(left_out)
    shown = [f"{number:,} {kind}" for kind, number in list(numbers.items())[:MOST_KINDS]]
    more = len(numbers) - len(shown)
    return ", ".join([*shown, f"and {more:,} more kinds of files"] if more else shown)


def by_folder(left_out: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """A line for each kind in each folder."""
    for kind in totals(left_out):
        for folder, number in sorted(left_out[kind].items()):
            yield f"{folder}: {number:,} {kind}"


def shortened(left_out: Mapping[str, Mapping[str, int]]) -> LeftOut:
    """The same numbers with at most MOST_KINDS kinds and MOST_FOLDERS folders each; the rest counts under OTHERS."""
    record: LeftOut = {}
    for place, kind in enumerate(totals(left_out)):
        folders = record.setdefault(kind if place < MOST_KINDS else OTHERS, {})
        for folder, number in sorted(left_out[kind].items(), key=lambda item: (-item[1], item[0])):
            known = folder in folders or (len(folders) < MOST_FOLDERS and len(folder) <= LONGEST)
            name = folder if known else OTHERS
            folders[name] = folders.get(name, 0) + number
    return record
