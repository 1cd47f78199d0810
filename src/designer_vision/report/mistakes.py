"""The most confident mistakes of a network, each with its photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from designer_vision.data.images import Pixels
from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.evaluation import Predictions, most_confident_mistakes
from designer_vision.report.photos import Shown, thumbnail

MOST_SHOWN = 24


@dataclass(frozen=True)
class Mistake(Shown):
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
