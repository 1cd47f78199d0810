"""Balance Classes: how much an image of a small class counts in a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from designer_vision.formats.image_directory import ImageDirectoryWriter, copy, read_image_directory, tell_reading
from designer_vision.formats.manifest import Weighting
from designer_vision.runtime.console import numbered, say
from designer_vision.runtime.progress import Progress

MOST_NAMED = 10


def main(input_image_directory: Path, weighting: Weighting, output_image_directory: Path) -> None:
    """Copy the images, and record the weighting, which Train PyTorch Model computes the classes' weights by.

    The weights themselves follow from the images that are trained on, which may be a part of these.

    Raises:
        InvalidDatasetError: there are no images.
        NotLabeledDatasetError: no image has a label.
    """
    index = read_image_directory(input_image_directory, original_names=True)
    tell_reading(index)
    counts = np.bincount(index.labeled().labels, minlength=len(index.classes))
    progress = Progress(len(index))
    with ImageDirectoryWriter(
        output_image_directory,
        index.classes,
        transformation=index.transformation,
        random_operations=index.random_operations,
        weighting=weighting,
    ) as writer:
        copy(index, range(len(index)), writer, progress.step)
    for row in np.argsort(-counts, kind="stable")[:MOST_NAMED]:
        say(f"{index.classes[row]}: {numbered(int(counts[row]), 'image')}")
    if len(counts) > MOST_NAMED:
        say(f"and {len(counts) - MOST_NAMED} more, the smallest of {numbered(int(counts.min()), 'image')}")
    say(f"{len(index)} images passed on, weighting {weighting}, {progress.images_per_second():.1f} images/s")
