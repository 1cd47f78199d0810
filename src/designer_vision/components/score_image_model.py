"""Score Image Model: a trained network's probabilities and labels for a directory of images."""

from __future__ import annotations

from pathlib import Path

from designer_vision.data.workers import worker_count
from designer_vision.formats.data_frame_directory import (
    SCORES,
    UNKNOWN,
    UNREADABLE,
    ScoredSet,
    check_threshold,
    write_data_frame_directory,
)
from designer_vision.formats.image_directory import read_image_directory, tell_reading
from designer_vision.formats.image_index import NO_LABEL, ImageIndex
from designer_vision.inference.scoring import read_trained_model, score
from designer_vision.runtime.console import say
from designer_vision.runtime.gpus import device_for_scoring
from designer_vision.runtime.machine import available_cpus, keep_freed_memory
from designer_vision.runtime.precision import choose_precision
from designer_vision.runtime.progress import Progress
from designer_vision.runtime.settings import Settings
from designer_vision.runtime.values import check_range

MOST_NAMED = 5
"""Of the images that were left out; all of them are in a file."""


def main(trained_model: Path, dataset: Path, threshold: float, scored_dataset: Path) -> None:
    """Score every image that can be read and write the DataFrameDirectory.

    Raises:
        NotInRangeValueError: threshold is not between 0 and 1, or the model has a class of the name that it would give.
        InvalidModelDirectoryError: the model is not a trained one, or its network cannot take the input that it claims.
        InvalidDatasetError: no image can be read.
    """
    check_range("threshold", threshold, 0, 1)
    model = read_trained_model(trained_model)
    check_threshold(threshold, model.labels)
    index = read_image_directory(dataset, original_names=True)
    tell_reading(index)
    device = device_for_scoring()
    if device.type == "cpu":
        keep_freed_memory()
    settings = Settings.from_environment()
    workers = worker_count(available_cpus(), 1, device, settings.data_workers)
    precision = choose_precision(device, settings.precision)
    progress = Progress(len(index))
    scores = score(model, index, device, precision, workers, progress.step, settings.patience)
    speed = progress.images_per_second()
    scored = scores.index
    names = [scored.name(row) for row in range(len(scored))]
    result = ScoredSet(model.labels, scores.probabilities, scored.ids, categories(scored), names, threshold)
    write_data_frame_directory(scored_dataset, result, scores.unreadable)
    warn_of_unreadable(scores.unreadable, len(index))
    if threshold > 0:
        below = result.scored_labels.count(UNKNOWN)
        say(f"{below} of {len(scored)} images have no class of probability {threshold:g} or more: {UNKNOWN}")
    say(f"table of images and labels: {scored_dataset / SCORES}")
    say(f"{len(scored)} images scored, {speed:.1f} images/s")


def warn_of_unreadable(lines: list[str], images: int) -> None:
    """Name the first of the images that were left out, and say how many there are."""
    if not lines:
        return
    say(f"warning: {len(lines)} of {images} images cannot be scored and are left out, see {UNREADABLE}:")
    for line in lines[:MOST_NAMED]:
        say(f"  {line}")
    if len(lines) > MOST_NAMED:
        say(f"  and {len(lines) - MOST_NAMED} more")


def categories(index: ImageIndex) -> list[str | None] | None:
    """The true labels in row order; None for an unlabelled directory."""
    if not index.is_labeled:
        return None
    return [None if label == NO_LABEL else index.classes[label] for label in index.labels]
