"""The most confident mistakes of a network, each with its photo."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from designer_vision.data import images
from designer_vision.data.images import Pixels
from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.evaluation import Predictions, most_confident_mistakes
from designer_vision.runtime.errors import InvalidDatasetError

MOST_SHOWN = 24
SIDE = 224
"""Pixels of a photo's longer side on the page."""


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction.

    Attributes:
        name: what the person called the file.
        true, predicted: labels.
        probability: of the predicted label.
        photo: the image, small; None where it cannot be read.
    """

    name: str
    true: str
    predicted: str
    probability: float
    photo: Pixels | None

    @property
    def source(self) -> str:
        """The photo as the address of an `img` element."""
        if self.photo is None:
            return ""
        kind = "png" if self.is_small else "jpeg"
        buffer = io.BytesIO()
        Image.fromarray(self.photo).save(buffer, kind, quality=85)
        return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

    @property
    def is_small(self) -> bool:
        """Whether its single pixels shall be seen."""
        return self.photo is not None and max(self.photo.shape) <= SIDE // 2


def find_mistakes(predictions: Predictions, index: ImageIndex, rows: Sequence[int]) -> list[Mistake]:
    """The most confident mistakes; only their images are read.

    Args:
        predictions: of labelled images.
        index: the images.
        rows: of each prediction's image in the index.
    """

    shown = most_confident_mistakes(predictions, MOST_SHOWN)
    with reading(index, [rows[place] for place in shown]) as read:

        def mistake(place: int) -> Mistake:
            row = rows[place]
            labels = predictions.labels
            return Mistake(
                index.name(row),
                labels[predictions.true[place]],
                labels[predictions.predicted[place]],
                float(predictions.probability[place]),
                thumbnail(lambda: read(row), index.path(row)),
            )

        return [mistake(place) for place in shown]


def thumbnail(read: Callable[[], bytes], path: Path) -> Pixels | None:
    """A small copy of an image, uint8 [height, width, 3]; None where it cannot be read."""
    try:
        pixels = images.decode(read(), path)
    except InvalidDatasetError:
        return None
    photo = Image.fromarray(pixels)
    photo.thumbnail((SIDE, SIDE))
    return np.array(photo)
