"""Split Image Directory: two parts of a dataset, each with its share of every class."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from designer_vision.components.odd_data import some
from designer_vision.formats.image_directory import ImageDirectoryWriter, copy, read_image_directory, tell_reading
from designer_vision.formats.image_index import NO_LABEL, ImageIndex
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import InvalidDatasetError, NotInRangeValueError
from designer_vision.runtime.progress import Progress

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
    tell_reading(index)
    progress = Progress(len(index))
    parts = split(index, fraction, random_seed)
    outputs = (output_image_directory1, output_image_directory2)
    with ExitStack() as both:  # neither part is finished before the other
        writers = [both.enter_context(_writer(index, output)) for output in outputs]
        for writer, part in zip(writers, parts, strict=True):
            copy(index, part.tolist(), writer, progress.step)
    for part, output in zip(parts, outputs, strict=True):
        say(f"{len(part)} of {len(index)} images are in {output}")
    say(f"{len(index)} images divided, {progress.images_per_second():.1f} images/s")


def split(index: ImageIndex, fraction: float, random_seed: int) -> tuple[Indices, Indices]:
    """Row numbers of the two parts, each in the order of the rows.

    Every class has its share in both parts, and at least one image in the larger part (of equal ones the first), so that it can
    be trained on with the smaller one for validation.

    Raises:
        InvalidDatasetError: there is one image, or one of each class.
    """
    if len(index) < 2:
        raise InvalidDatasetError(f"{index.folder} has 1 image; at least 2 are needed to make two parts")
    first = min(max(round(len(index) * fraction), 1), len(index) - 1)
    first_is_larger = 2 * first >= len(index)
    counts = np.bincount(index.labels - NO_LABEL, minlength=len(index.classes) + 1)
    most = np.where(np.arange(len(counts)) == 0, counts, counts - 1).clip(0)  # the rows without a label come first
    if not most.any():
        raise InvalidDatasetError(f"{index.folder} has one image of each class; at least one class needs two to make two parts")
    taken = shares(counts, min(len(index) - first, first, int(most.sum())), most)
    if small := [name for name, count, share in zip(index.classes, counts[1:], taken[1:], strict=True) if count and not share]:
        part = "second" if first_is_larger else "first"
        say(f"warning: too few images of {some(small)} to have one in the {part} part; all are in the larger one")
    generator = np.random.default_rng(random_seed % 2**64)
    rows = [np.flatnonzero(index.labels == number + NO_LABEL) for number in range(len(counts))]
    smaller = np.sort(np.concatenate([generator.permutation(of)[:share] for of, share in zip(rows, taken, strict=True)]))
    larger = np.setdiff1d(np.arange(len(index)), smaller)
    return (larger, smaller) if first_is_larger else (smaller, larger)


def shares(counts: Indices, whole: int, most: Indices) -> Indices:
    """How many images of each class make up a part, in proportion, by the method of the largest remainder.

    Args:
        counts: images of each class.
        whole: images of the part, at most the sum of `most`.
        most: of each class.
    """
    exact = whole * counts / counts.sum()
    taken: Indices = np.minimum(np.floor(exact).astype(np.int64), most)
    while missing := whole - int(taken.sum()):
        waiting = np.where(taken < most, exact - taken, -np.inf)
        chosen = np.argsort(-waiting, kind="stable")[: min(missing, int((taken < most).sum()))]
        taken[chosen] += 1
    return taken


def _writer(index: ImageIndex, output: Path) -> ImageDirectoryWriter:
    return ImageDirectoryWriter(
        output,
        index.classes,
        transformation=index.transformation,
        random_operations=index.random_operations,
        weighting=index.weighting,
    )
