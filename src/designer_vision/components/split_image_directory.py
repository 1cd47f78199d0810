"""Split Image Directory: two parts of a dataset, each with its share of every class."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from designer_vision.console import say
from designer_vision.directories.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.directories.image_index import NO_LABEL, ImageIndex
from designer_vision.errors import InvalidDatasetError, NotInRangeValueError
from designer_vision.progress import Progress

Indices = npt.NDArray[np.int64]


def main(
    input_image_directory: Path,
    fraction: float,
    random_seed: int,
    output_image_directory1: Path,
    output_image_directory2: Path,
) -> None:
    """Copy a fraction of the images into the first output and the rest into the second.

    Raises:
        NotInRangeValueError: fraction is not between 0 and 1.
        InvalidDatasetError: one part would be empty.
    """
    if not 0 < fraction < 1:
        raise NotInRangeValueError(f"fraction is {fraction}, it must be between 0 and 1")
    index = read_image_directory(input_image_directory, original_names=True)
    progress = Progress(len(index))
    parts = split(index, fraction, random_seed)
    outputs = (output_image_directory1, output_image_directory2)
    with ExitStack() as both:  # neither part is finished before the other
        writers = [both.enter_context(_writer(index, output)) for output in outputs]
        for writer, part in zip(writers, parts, strict=True):
            _copy(index, part, writer, progress)
    for part, output in zip(parts, outputs, strict=True):
        say(f"{len(part)} of {len(index)} images are in {output}")
    say(f"{len(index)} images divided, {progress.images_per_second():.1f} images/s")


def split(index: ImageIndex, fraction: float, random_seed: int) -> tuple[Indices, Indices]:
    """Row numbers of the two parts, each in the order of the rows.

    Every class has its share in both parts. A class with a single image is in the first, which is the one to train on;
    where the smaller part has fewer images than there are classes, classes play no role.
    """
    if len(index) < 2:
        raise InvalidDatasetError(f"{index.folder} has 1 image; at least 2 are needed to make two parts")
    first = min(max(round(len(index) * fraction), 1), len(index) - 1)
    everything = np.arange(len(index))
    counts = np.bincount(index.labels - NO_LABEL)
    alone = counts[index.labels - NO_LABEL] == 1
    others = everything[~alone]
    part1 = first - int(alone.sum())
    classes = len(np.unique(index.labels[others]))
    possible = min(part1, len(others) - part1) >= classes > 1
    if not possible:
        others, part1, alone = everything, first, np.zeros(len(index), dtype=bool)
        if classes > 1:
            say("warning: too few images for a share of every class in both parts; classes play no role")
    taken, rest = train_test_split(
        others, train_size=part1, random_state=random_seed % 2**32, stratify=index.labels[others] if possible else None
    )
    return np.sort(np.concatenate([everything[alone], taken])), np.sort(rest)


def _writer(index: ImageIndex, output: Path) -> ImageDirectoryWriter:
    return ImageDirectoryWriter(
        output, index.classes, transformation=index.transformation, random_operations=index.random_operations
    )


def _copy(index: ImageIndex, part: Indices, writer: ImageDirectoryWriter, progress: Progress) -> None:
    for number in part:
        writer.add(index.read(int(number)), index.path(int(number)).suffix, index.row(int(number)))
        progress.step()
