"""Split Image Directory: two parts of a dataset, each with its share of every class."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from designer_vision import images
from designer_vision.directories.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.directories.image_index import NO_LABEL, ImageIndex
from designer_vision.entry.command_line import INTEGER, NUMBER, parameter, port, run
from designer_vision.errors import InvalidDatasetError, NotInRangeValueError

Indices = npt.NDArray[np.int64]


@click.command()
@port("input_image_directory")
@parameter("fraction", NUMBER)
@parameter("random_seed", INTEGER)
@port("output_image_directory1")
@port("output_image_directory2")
def parse(
    input_image_directory: Path,
    fraction: float,
    random_seed: int,
    output_image_directory1: Path,
    output_image_directory2: Path,
) -> None:
    main(input_image_directory, fraction, random_seed, output_image_directory1, output_image_directory2)


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
    index = read_image_directory(input_image_directory)
    for part, output in zip(split(index, fraction, random_seed), (output_image_directory1, output_image_directory2), strict=True):
        _copy(index, part, output)
        print(f"{len(part)} of {len(index)} images are in {output}")


def split(index: ImageIndex, fraction: float, random_seed: int) -> tuple[Indices, Indices]:
    """Row numbers of the two parts, each in the order of the rows; stratified by label where that is possible.

    A class with a single image cannot be in both parts; then the whole split is made without regard to classes.
    """
    everything = np.arange(len(index))
    first = min(max(round(len(index) * fraction), 1), len(index) - 1)
    if len(index) < 2:
        raise InvalidDatasetError(f"{index.folder} has 1 image; at least 2 are needed to make two parts")
    counts = np.bincount(index.labels - NO_LABEL)
    counts = counts[counts > 0]
    possible = counts.min() >= 2 and min(first, len(index) - first) >= len(counts)
    if not possible and index.is_labeled:
        print("warning: too few images for a share of every class in both parts; split without regard to classes")
    part1, part2 = train_test_split(
        everything, train_size=first, random_state=random_seed % 2**32, stratify=index.labels if possible else None
    )
    return np.sort(part1), np.sort(part2)


def _copy(index: ImageIndex, part: Indices, output: Path) -> None:
    writer = ImageDirectoryWriter(
        output, index.classes, transformation=index.transformation, random_operations=index.random_operations
    )
    with writer:
        for number in part:
            path = index.path(int(number))
            writer.add(images.read(path), path.suffix, index.row(int(number)))


if __name__ == "__main__":
    run(parse)
