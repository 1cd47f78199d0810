"""The images of a folder that label files name: which file each name means, and its one label."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from designer_vision.formats.file_matching import FileMatcher, Match, SeveralFilesError
from designer_vision.formats.image_index import ImageInfo, Row
from designer_vision.formats.label_files import ONE_LABEL, LabelFile, Named, in_words, read_label_file
from designer_vision.formats.left_out import readable
from designer_vision.runtime.errors import InvalidDatasetError

MOST_LISTED = 100_000
"""Names without a file that are kept to be told."""
SHOWN = 200
"""Letters of a name in a message."""


class _Claim(NamedTuple):
    """What a label file says of a file that is there."""

    label: str
    rank: int
    source: LabelFile
    line: int
    location: str


@dataclass
class LabelledImages:
    """What label files say of the images of a folder.

    Attributes:
        sources: the label files that name some of the images.
        labels: of each image that is named, in the order of the label files; "" where it has none.
        not_found: how many names mean no file.
        not_found_listed: these names, at most MOST_LISTED, each with its file and line.
        notes: what is worth saying.
    """

    sources: list[LabelFile] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    not_found: int = 0
    not_found_listed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """A row for each image that is named."""
        return (Row(ImageInfo(file_name=name), readable(label) or None) for name, label in self.labels.items())


def label_images(folder: Path, label_files: Sequence[LabelFile], images: Sequence[str]) -> LabelledImages:
    """Find the images that label files name.

    Args:
        folder: that all names are relative to.
        label_files: to be read.
        images: the files that there are.

    Raises:
        InvalidDatasetError: a label file cannot be read, one of its names may mean several images, an image has two labels, or
            none of the images is there.
    """
    reading = _Reading(folder, FileMatcher(images))
    result = reading.result
    for source in label_files:
        before = len(reading.claims)
        rows = 0
        for named in read_label_file(folder, source, result.notes):
            reading.add(source, named)
            rows += 1
        if len(reading.claims) > before or not rows:
            result.sources.append(source)
        elif not reading.again.get(source.name):
            result.notes.append(f"{source.name} names no image that is here; {_first(result, source)}")
        else:
            result.sources.append(source)
    if result.not_found and not reading.claims:
        raise InvalidDatasetError(_nothing_found(folder, label_files, images, result))
    return reading.finished()


def _first(result: LabelledImages, source: LabelFile) -> str:
    return next((f"the first is {line}" for line in result.not_found_listed if line.startswith(source.name)), "")


class _Reading:
    """The claims of label files on images, as they are read."""

    def __init__(self, folder: Path, matcher: FileMatcher) -> None:
        self.folder = folder
        self.claims: dict[str, _Claim] = {}
        self.again: dict[str, int] = {}
        self.by_name_alone = 0
        self.example = ""
        self.result = LabelledImages()
        self._matcher = matcher

    def add(self, source: LabelFile, named: Named) -> None:
        """Give an image its label, or count the name as not found."""
        found = self._match(source, named)
        claim = _Claim(named.label, found.rank if found else 0, source, named.line, named.locations[0])
        if found is None:
            self._not_found(claim)
            return
        if found.by_name_alone:
            self.by_name_alone += 1
            self.example = self.example or f"{found.name!r} for {claim.location[:SHOWN]!r}"
        before = self.claims.setdefault(found.name, claim)
        if before is claim:
            return
        if before.rank != claim.rank and before.source.kind == source.kind:
            self.claims[found.name] = max(before, claim, key=lambda one: one.rank)
            self._not_found(min(before, claim, key=lambda one: one.rank))  # another image, which is not here
            return
        if before.label and claim.label and before.label != claim.label:
            raise InvalidDatasetError(
                f"{self.folder / source.name}: {found.name!r} has the labels {before.label!r} and {claim.label!r}"
                f"{_places(before, claim)}; {ONE_LABEL}"
            )
        self.again[source.name] = self.again.get(source.name, 0) + 1
        if not before.label:
            self.claims[found.name] = claim

    def _match(self, source: LabelFile, named: Named) -> Match | None:
        base = posixpath.dirname(source.name)
        try:
            return self._matcher.match(named.locations, base, without_suffix=source.kind == "csv")
        except SeveralFilesError as error:
            location, one, other = error.args
            raise InvalidDatasetError(
                f"{self.folder / source.place(named.line)}: {location[:SHOWN]!r} may be {one!r} or {other!r}; "
                "write more of the path so that it means only one of them, or remove the other"
            ) from error

    def _not_found(self, claim: _Claim) -> None:
        self.result.not_found += 1
        if len(self.result.not_found_listed) < MOST_LISTED:
            self.result.not_found_listed.append(f"{claim.source.place(claim.line)}: {claim.location[:SHOWN]!r} is not here")

    def finished(self) -> LabelledImages:
        """All that was read, and what is worth saying of it."""
        result = self.result
        result.labels = {name: claim.label for name, claim in self.claims.items()}
        for name, count in self.again.items():
            result.notes.append(f"{name} lists {count:,} files more than once; each is used once")
        if result.not_found:
            total = result.not_found + len(self.claims)
            result.notes.append(
                f"{result.not_found:,} of the {total:,} images named in {in_words(result.sources)} are not here and are "
                f"left out; the first: {result.not_found_listed[0]}"
            )
        if self.by_name_alone:
            result.notes.append(
                f"{self.by_name_alone:,} images are found by their file's name alone, as their folders differ, "
                f"such as {self.example}"
            )
        return result


def _places(one: _Claim, other: _Claim) -> str:
    if one.source == other.source and not one.line:
        return ""
    return f" ({one.source.place(one.line)}, {other.source.place(other.line)})"


def _nothing_found(folder: Path, label_files: Sequence[LabelFile], images: Sequence[str], result: LabelledImages) -> str:
    first = result.not_found_listed[0]
    there = (
        f"none is among the {len(images):,} images below {folder}"
        if images
        else f"none is here: there is no image below {folder}"
    )
    return (
        f"{folder}: of the {result.not_found:,} images named in {in_words(label_files)}, {there}; the first: {first} by its "
        "path, nor by the last parts of it; give a folder that holds both the images and the label file"
    )
