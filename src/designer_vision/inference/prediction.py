"""What a trained network says of some photos, told as they are read: for a person at a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from designer_vision.data import images
from designer_vision.data.transforms import EvaluationTransform, Size
from designer_vision.formats.image_index import PROBES
from designer_vision.formats.model_directory import Model
from designer_vision.formats.plain_folder import is_image
from designer_vision.inference.scoring import Scorer, fit_for, pixels_of
from designer_vision.runtime import files
from designer_vision.runtime.errors import InvalidDatasetError, InvalidModelDirectoryError
from designer_vision.runtime.gpus import device_for_scoring
from designer_vision.runtime.machine import in_order, keep_freed_memory
from designer_vision.runtime.precision import choose_precision
from designer_vision.runtime.settings import Settings

MOST_LABELS = 5
FIRST_BATCH, BATCH = 1, 8
"""Small, so that answers come soon."""

Answer = list[tuple[str, float]]
"""Labels and their probabilities, the most probable first."""


@dataclass(frozen=True)
class Photo:
    """A file that may be an image.

    Attributes:
        folder, name: where it is; a link that points outside the folder is refused.
        called: what the person calls it.
        is_named: whether the person named it, and not only a folder around it.
        problem: a folder's, whose files nobody can tell.
    """

    folder: Path
    name: str
    called: str
    is_named: bool
    problem: str = ""

    def read(self) -> bytes | None:
        """Its bytes; None where it was only found and neither its name nor its content is an image's.

        Raises:
            InvalidDatasetError: it cannot be read.
        """
        if self.problem:
            raise InvalidDatasetError(self.problem)
        if not self.is_named and not is_image(self.name):
            with files.opened(self.folder, self.name, InvalidDatasetError) as file:
                if images.format_of(file.read(images.BEGINNING)) is None:
                    return None
        return files.read(self.folder, self.name, InvalidDatasetError, images.MOST_BYTES)


def find_photos(path: Path) -> tuple[list[Photo], int]:
    """A file, or all files below a folder; and how many hidden files and folders were passed over."""
    if not path.exists():
        return [Photo(path, "", str(path), True, f"{path} does not exist")], 0
    if not path.is_dir():
        place = Path(os.path.realpath(path))  # a link is the person's own
        return [Photo(place.parent, place.name, str(path), True)], 0
    photos: list[Photo] = []
    hidden = 0

    def closed(error: OSError) -> None:
        photos.append(Photo(path, "", error.filename, False, f"{error.filename} cannot be read: {error.strerror}"))

    for folder, folders, names in os.walk(path, onerror=closed):
        shown = [name for name in names if not name.startswith(".")]
        hidden += len(names) - len(shown) + sum(name.startswith(".") for name in folders)
        links = [name for name in folders if Path(folder, name).is_symlink()]
        hidden += sum(not name.startswith(".") for name in links)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in sorted(shown):
            place = Path(folder) / name
            photos.append(Photo(path, str(place.relative_to(path)), str(place), False))
    return photos, hidden


def predict(model: Model, photos: Sequence[Photo]) -> Iterator[tuple[Photo, Answer | str | None]]:
    """The most probable labels of each photo, with the probabilities of Score Image Model.

    Args:
        model: as `read_trained_model` gives it.
        photos: of any size.

    Yields:
        Each photo with its answer, with the reason why there is none, or with None where it is no image at all.

    Raises:
        InvalidModelDirectoryError: the network gives no numbers.
    """
    device = device_for_scoring()
    if device.type == "cpu":
        keep_freed_memory()
    scorer = Scorer(model, device, choose_precision(device, Settings.from_environment().precision))
    fit = fit_for(model, None if model.size else _known_sizes(photos))
    waiting: list[tuple[Photo, Tensor]] = []
    enough = FIRST_BATCH
    for photo, seen in zip(photos, in_order(lambda number: _pixels(photos[number], fit), len(photos)), strict=True):
        if not isinstance(seen, Tensor):
            yield photo, seen
            continue
        waiting.append((photo, seen))
        if len(waiting) >= enough:
            yield from _answers(model.labels, scorer, waiting)
            waiting, enough = [], BATCH
    if waiting:
        yield from _answers(model.labels, scorer, waiting)


def _pixels(photo: Photo, fit: EvaluationTransform) -> Tensor | str | None:
    try:
        content = photo.read()
        return None if content is None else pixels_of(content, photo.called, fit)
    except InvalidDatasetError as error:
        return error.message.removesuffix(f"; {images.ADVICE}")


def _answers(labels: Sequence[str], scorer: Scorer, waiting: Sequence[tuple[Photo, Tensor]]) -> Iterator[tuple[Photo, Answer]]:
    probabilities = scorer(torch.stack([pixels for _, pixels in waiting]))
    for (photo, _), row in zip(waiting, probabilities, strict=True):
        if not np.isfinite(row).all():
            raise InvalidModelDirectoryError(f"the network gives no numbers for {photo.called}; train the model again")
        yield photo, [(labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:MOST_LABELS]]


def _known_sizes(photos: Sequence[Photo]) -> list[Size]:
    """The different sizes of some of the photos, as Score Image Model looks at them for a model that recorded none."""
    sizes = set()
    for number in np.unique(np.linspace(0, len(photos) - 1, num=min(PROBES, len(photos)), dtype=np.int64)):
        try:
            content = photos[number].read()
            if content is not None:
                sizes.add(images.size(content, photos[number].called))
        except InvalidDatasetError:  # told when its turn comes
            continue
    return sorted(sizes)
