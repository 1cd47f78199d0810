"""What can go wrong, or is worth a warning, before Train PyTorch Model begins: known in seconds, without touching an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from designer_vision.components.odd_data import look_alike_labels, repeated_pictures, some
from designer_vision.data.epoch_order import batches
from designer_vision.data.preprocessing import Preprocessing
from designer_vision.formats.image_index import ImageIndex
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.training.optimizer import LINEAR, SQUARE_ROOT
from designer_vision.training.parameters import Parameters


@dataclass(frozen=True)
class UsualRates:
    """Learning rates that an optimizer comes to something with, at a batch size of USUAL_BATCH: what benchmarks/ has measured.

    Attributes:
        low, usual, high: from random weights: below and above the ends a person is told.
        most: that is advised for any batch size.
        high_tuned, usual_tuned, most_tuned: the same for weights that have learned before; the first of all processes together.
        power: of how much larger the batch is, by which a rate grows.
    """

    low: float
    usual: float
    high: float
    most: float
    high_tuned: float
    usual_tuned: float
    most_tuned: float
    power: float


SGD = UsualRates(0.004, 0.02, 1, 0.1, 0.05, 0.005, 0.02, LINEAR)
ADAMW = UsualRates(0.001, 0.005, 0.1, 0.02, 0.01, 0.001, 0.004, SQUARE_ROOT)
USUAL_BATCH, LARGE_BATCH = 16, 64
"""Up to the second, what is high for weights that have learned before is no higher."""
FEW_A_CLASS, FEW_STEPS = 50, 200
"""Images and steps from which on random weights come to something."""
FEW_IMAGES = 5
IMBALANCED = 10
"""The largest class has so many times the images of the smallest one."""


def check_batches(
    architecture: Architecture, training: ImageIndex, preprocessing: Preprocessing, batch_size: int, world_size: int
) -> None:
    """Have the network see a batch like the smallest one to come, on the meta device: no memory, no computation.

    Raises:
        InvalidDatasetError: there are fewer images than processes, or the network cannot take images of that size, or a batch of
            one (batch norm needs more than one value a channel).
    """
    if len(training) < world_size:
        raise InvalidDatasetError(
            f"{training.folder} has {len(training)} images for {world_size} processes; give more images or start fewer processes"
        )
    smallest = min(len(batch) for batch in batches(np.arange(-(-len(training) // world_size)), batch_size))
    height, width = preprocessing.size
    if reason := builders.refusal_of(architecture, len(training.classes), smallest, (height, width), training=True):
        only = architecture.family.only
        advice = f"resize and crop them to {only} x {only}" if only else "use larger images or a larger batch_size"
        raise InvalidDatasetError(
            f"{architecture.model_name} cannot be trained with batches of {smallest} images of {height} x {width} pixels, as "
            f"{training.folder} has them: {reason}; {advice}"
        )


def warnings_of(
    training: ImageIndex, validation: ImageIndex, parameters: Parameters, world_size: int, has_batch_norm: bool = True
) -> list[str]:
    """What is allowed and may not be meant, a sentence each."""
    found = look_alike_labels(training.classes) + repeated_pictures(*_hashed(training), training.classes)
    if len(validation) > len(training):
        found.append(
            f"{len(training):,} images to train and {len(validation):,} to validate: are training_dataset and validation_dataset "
            "connected the wrong way round?"
        )
    for index in (training, validation):
        if index.unused_classes:
            found.append(f"{index.folder} has no image of the classes {some(index.unused_classes)}")
    missing = sorted(set(training.classes) - {validation.classes[label] for label in np.unique(validation.labels)})
    if missing:
        found.append(f"no validation image has the classes {some(missing)}")
    numbers = np.bincount(training.labels, minlength=len(training.classes))
    few = [f"{name} ({number})" for name, number in zip(training.classes, numbers, strict=True) if number < FEW_IMAGES]
    if few:
        found.append(f"classes with fewer than {FEW_IMAGES} images to train on: {some(few)}")
    if numbers.max() >= IMBALANCED * numbers.min() and training.weighting == "none":
        most, least = int(numbers.argmax()), int(numbers.argmin())
        found.append(
            f"{training.classes[most]} has {numbers[most]} images to train on and {training.classes[least]} {numbers[least]}: "
            "the network will prefer the larger classes; more images of the small ones help, or Balance Classes"
        )
    same = number_of_same_images(training, validation)
    if same:
        found.append(
            f"{same} of {len(validation)} validation images are also in {training.folder}, byte for byte; "
            "validation accuracy is overstated"
        )
    if validation.random_operations:
        found.append(
            f"{validation.folder} was made for training; its random operations are left out: {validation.random_operations}"
        )
    if parameters.batch_size == 1 and has_batch_norm:
        found.append("batch_size is 1, at which batch norm learns little; use 2 or more")
    share = -(-len(training) // world_size)
    if parameters.batch_size > share:
        found.append(f"batch_size is {parameters.batch_size}, and a process has {share} images: each step takes all of them")
    if parameters.warmup_step_number >= parameters.epochs:
        found.append("warmup_step_number must be below epochs, or the learning rate never decays")
    return found


def advice(
    images: int, classes: int, parameters: Parameters, processes: int, from_scratch: bool, rates: UsualRates = SGD
) -> list[str]:
    """What a person who has trained many networks would say of these parameters, before the first step; nothing is changed.

    Args:
        images: to train on.
        classes: of them.
        parameters: the person's seven.
        processes: that train.
        from_scratch: whether the weights are random.
        rates: of the network's optimizer.
    """
    steps = parameters.epochs * len(batches(np.arange(-(-images // processes)), parameters.batch_size))
    given = f"learning_rate {parameters.learning_rate:g}"
    times = (parameters.batch_size / USUAL_BATCH) ** rates.power
    if not from_scratch:
        given += _of_processes(processes, rates)
        high = rates.high_tuned * max(1, parameters.batch_size * processes / LARGE_BATCH) ** rates.power
        if parameters.learning_rate * processes**rates.power < high:
            return []
        usual = min(rates.usual_tuned * times, rates.most_tuned)
        return [f"{given} is high for weights that are already trained, and may undo that; try {usual:.2g}"]
    found = []
    usual = min(rates.usual * times, rates.most)
    if parameters.learning_rate < usual * rates.low / rates.usual:
        found.append(f"{given} is low for random weights, which learn slowly at it; try {usual:.2g}")
    elif parameters.learning_rate > rates.high:
        found.append(f"{given} is unusually high; try {usual:.2g}")
    if images < FEW_A_CLASS * classes:
        found.append(
            f"{images:,} images of {classes:,} classes are few for random weights; pretrained ones (pretrained True, or a "
            "trained model on untrained_model) get much further with them"
        )
    elif steps < FEW_STEPS:
        enough = -(-FEW_STEPS * parameters.epochs // steps)
        found.append(f"random weights need more steps than {steps}; try {enough} epochs")
    return found


def _of_processes(processes: int, rates: UsualRates) -> str:
    if processes == 1:
        return ""
    return f" times {'' if rates.power == LINEAR else 'the square root of '}{processes} processes"


def number_of_same_images(one: ImageIndex, other: ImageIndex) -> int:
    """How many images of `other` have the content of one of `one`, by the recorded hashes."""
    return int(np.isin(_hashed(other)[1], _hashed(one)[1]).sum())


def _hashed(index: ImageIndex) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bytes_]]:
    """Labels and content hashes of the images that have one recorded."""
    recorded = index.hashes.any(axis=1)
    return index.labels[recorded], np.ascontiguousarray(index.hashes[recorded]).view("S16").ravel()
