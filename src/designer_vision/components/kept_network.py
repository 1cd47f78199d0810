"""The network that a training keeps, on the validation images once more, as Score Image Model will compute it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from designer_vision.data.loader import Asked, batches
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.model_directory import Model
from designer_vision.inference.calibration import Calibration, Figures, calibrate
from designer_vision.inference.evaluation import Predictions
from designer_vision.inference.scoring import Scorer
from designer_vision.training.trainer import VALIDATION, Trainer

MOST_PROBABILITIES = 2**26
"""Half a gigabyte; of more validation images times classes, evenly spaced images are taken."""
SMALLEST = 1e-300
"""Of the probabilities, so that each has a logarithm."""


@dataclass(frozen=True)
class Kept:
    """A trained network, and what it says of the validation images.

    Attributes:
        model: with its temperature.
        images: that it saw.
        probabilities: float64 [images, classes].
        calibration: what the temperature does to them.
    """

    model: Model
    images: ImageIndex
    probabilities: Figures
    calibration: Calibration

    @property
    def predictions(self) -> Predictions:
        """The most probable label of each image."""
        true, predicted = self.images.labels.astype(np.int64), self.probabilities.argmax(axis=1)
        return Predictions(self.images.classes, true, predicted, self.probabilities.max(axis=1), np.arange(len(true)))


def see_validation_images(trainer: Trainer, model: Model, validation: ImageIndex) -> Kept:
    """Give the validation images to the kept network, and fit its temperature to them.

    Args:
        trainer: that has trained; its data workers have the images at hand.
        model: what came of it.
        validation: the trainer's validation images.
    """
    most = min(len(validation), max(1, MOST_PROBABILITIES // len(model.labels)))
    rows = np.unique(np.linspace(0, len(validation) - 1, most, dtype=np.int64))
    plan = (Asked(0, batch, VALIDATION) for batch in batches(rows, trainer.parameters.batch_size))
    scorer = Scorer(model, trainer.hardware.device, trainer.hardware.precision)
    parts = [scorer(batch.images) for batch in trainer.loader.batches(plan)]
    log_probabilities = np.log(np.maximum(np.concatenate(parts), SMALLEST))
    images = validation.subset(rows)
    calibration, probabilities = calibrate(log_probabilities, images.labels.astype(np.int64))
    return Kept(replace(model, temperature=calibration.temperature), images, probabilities, calibration)
