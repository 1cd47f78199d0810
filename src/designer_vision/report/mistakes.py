"""The most confident mistakes of a network and some right predictions, each with its photo and where the network looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from designer_vision.data.images import Pixels
from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.evaluation import Predictions, find_scored, most_confident_mistakes, most_confident_of_classes
from designer_vision.report.photos import Shown, small, thumbnail

if TYPE_CHECKING:
    from designer_vision.inference.heat_map import Seen  # which loads torch, and an evaluation without a model has no use for it

MOST_SHOWN, MOST_RIGHT = 24, 6
COLORS = "inferno"
"""Of heat maps, by matplotlib's name: they grow lighter by equal steps, also in print and for the colour-blind."""


@dataclass(frozen=True)
class Photos:
    """The images of some predictions.

    Attributes:
        index: the images.
        rows: of each prediction's image in the index.
        seen: some of them as their network sees them, by the number of the prediction.
    """

    index: ImageIndex
    rows: Sequence[int]
    seen: Mapping[int, Seen] = field(default_factory=dict)

    @classmethod
    def of(cls, predictions: Predictions, index: ImageIndex) -> Photos:
        """Find the images by their ids.

        Raises:
            InvalidDatasetError: these are not the images that were scored: an id is missing, or has another label or name.
        """
        labels = (predictions.labels[true] for true in predictions.true)
        return cls(index, find_scored(index, predictions.ids, labels, predictions.names or None))


@dataclass(frozen=True)
class Example(Shown):
    """One prediction.

    Attributes:
        name: what the person called the file.
        true, predicted: labels.
        probability: of the predicted label.
        photo: the image, small; None where it cannot be read.
        heat: the same with its heat map over it; None where there is none.
    """

    name: str
    true: str
    predicted: str
    probability: float
    photo: Pixels | None
    heat: Pixels | None = None

    @property
    def pictures(self) -> list[Pixels]:
        """The photo and its heat map."""
        return [picture for picture in (self.photo, self.heat) if picture is not None]

    @property
    def has_heat_map(self) -> bool:
        return self.heat is not None


def shown_mistakes(predictions: Predictions) -> list[int]:
    """Numbers of the predictions that `find_mistakes` shows."""
    return most_confident_mistakes(predictions, MOST_SHOWN)


def shown_right(predictions: Predictions) -> list[int]:
    """Numbers of the predictions that `find_right` shows, where they have heat maps."""
    return most_confident_of_classes(predictions, MOST_RIGHT)


def find_mistakes(predictions: Predictions, photos: Photos) -> list[Example]:
    """The most confident mistakes of labelled images; only their images are read."""
    return list(_examples(predictions, photos, shown_mistakes(predictions)))


def find_right(predictions: Predictions, photos: Photos) -> list[Example]:
    """Right predictions of several classes, those that have heat maps."""
    return list(_examples(predictions, photos, [place for place in shown_right(predictions) if place in photos.seen]))


def _examples(predictions: Predictions, photos: Photos, shown: Sequence[int]) -> Iterator[Example]:
    index, rows, labels = photos.index, photos.rows, predictions.labels
    with reading(index, [rows[place] for place in shown if place not in photos.seen]) as read:
        for place in shown:
            row, seen = rows[place], photos.seen.get(place)
            yield Example(
                index.name(row),
                labels[predictions.true[place]],
                labels[predictions.predicted[place]],
                float(predictions.probability[place]),
                small(seen.pixels) if seen else thumbnail(partial(read, row), index.path(row)),
                small(with_heat(seen)) if seen else None,
            )


def with_heat(seen: Seen) -> Pixels:
    """The image without its colours, half covered by its heat map: uint8 [height, width, 3]."""
    from matplotlib import colormaps

    grey = seen.pixels.mean(axis=2, keepdims=True)
    covered: Pixels = ((grey + colormaps[COLORS](seen.heat, bytes=True)[..., :3]) / 2).astype(np.uint8)
    return covered
