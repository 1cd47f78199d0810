"""Score Image Model: a trained network's probabilities and labels for a directory of images."""

from __future__ import annotations

from pathlib import Path

import torch

from designer_vision.console import say
from designer_vision.directories.data_frame_directory import SCORES, ScoredSet, write_data_frame_directory
from designer_vision.directories.image_directory import read_image_directory
from designer_vision.directories.image_index import NO_LABEL, ImageIndex
from designer_vision.directories.model_directory import read_model_directory
from designer_vision.errors import InvalidModelDirectoryError
from designer_vision.loader import worker_count
from designer_vision.machine import available_cpus, keep_freed_memory
from designer_vision.precision import choose_precision
from designer_vision.progress import Progress
from designer_vision.scoring import score
from designer_vision.settings import Settings


def main(trained_model: Path, dataset: Path, scored_dataset: Path) -> None:
    """Score every image and write the DataFrameDirectory.

    Raises:
        InvalidModelDirectoryError: the model is not a trained one.
        InvalidDatasetError: the first image that cannot be read.
    """
    model = read_model_directory(trained_model)
    if not model.is_trained:
        raise InvalidModelDirectoryError(f"{trained_model} is an untrained model; connect the output of Train PyTorch Model")
    index = read_image_directory(dataset, original_names=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    settings = Settings.from_environment()
    workers = worker_count(available_cpus(), 1, device, settings.data_workers)
    precision = choose_precision(device, settings.precision)
    progress = Progress(len(index))
    probabilities = score(model, index, device, precision, workers, progress.step)
    speed = progress.images_per_second()
    names = [index.name(row) for row in range(len(index))]
    write_data_frame_directory(scored_dataset, ScoredSet(model.labels, probabilities, index.ids, categories(index), names))
    say(f"table of images and labels: {scored_dataset / SCORES}")
    say(f"{len(index)} images scored, {speed:.1f} images/s")


def categories(index: ImageIndex) -> list[str | None] | None:
    """The true labels in row order; None for an unlabelled directory."""
    if not index.is_labeled:
        return None
    return [None if label == NO_LABEL else index.classes[label] for label in index.labels]
