"""The network that a training keeps, on the validation images once more, as Score Image Model will compute it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from designer_vision.data.dataset import Asked
from designer_vision.data.epoch_order import batches
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.model_directory import Model
from designer_vision.inference.calibration import Calibration, calibrate
from designer_vision.inference.evaluation import Predictions
from designer_vision.inference.scoring import Scorer
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.training.trainer import VALIDATION, Trainer

MOST_PROBABILITIES = 2**26
"""A quarter of a gigabyte; of more validation images times classes, evenly spaced images are taken."""
SMALLEST = 1e-300
"""Of the probabilities, so that each has a logarithm."""


@dataclass(frozen=True)
class Kept:
    """A trained network, and what it says of the validation images.

    Attributes:
        model: with its temperature.
        images: that it saw.
        predictions: the most probable label of each, and its probability with the temperature.
        calibration: what the temperature does to the probabilities.
    """

    model: Model
    images: ImageIndex
    predictions: Predictions
    calibration: Calibration


def see_validation_images(trainer: Trainer, model: Model, validation: ImageIndex) -> Kept:
    """Give the validation images to the kept network, and fit its temperature to them.

    Args:
        trainer: that has trained; its data workers have the images at hand.
        model: what came of it.
        validation: the trainer's validation images.

    Raises:
        DesignerError: an image cannot be read any more, a worker was lost, or a probability is not a number.
    """
    most = min(len(validation), max(1, MOST_PROBABILITIES // len(model.labels)))
    rows = np.unique(np.linspace(0, len(validation) - 1, most, dtype=np.int64))
    plan = (Asked(0, batch, VALIDATION) for batch in batches(rows, trainer.parameters.batch_size))
    scorer = Scorer(model, trainer.hardware.device, trainer.hardware.precision)
    log_probabilities = np.empty((len(rows), len(model.labels)), np.float32)
    first = 0
    for batch in trainer.loader.batches(plan):
        found = scorer(batch.images)
        log_probabilities[first : first + len(found)] = np.log(np.maximum(found, SMALLEST))
        first += len(found)
    if not np.isfinite(log_probabilities).all():
        raise InvalidDatasetError(f"the kept network does not give probabilities to all images of {validation.folder}")
    images = validation.subset(rows)
    labels = images.labels.astype(np.int64)
    calibration, probability = calibrate(log_probabilities, labels)
    predictions = Predictions(images.classes, labels, log_probabilities.argmax(axis=1), probability, np.arange(len(rows)))
    return Kept(replace(model, temperature=calibration.temperature), images, predictions, calibration)
