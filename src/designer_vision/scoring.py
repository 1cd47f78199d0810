"""A trained network's probabilities for images: by folder, batched, and for single photos at an endpoint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from designer_vision import networks
from designer_vision.directories.image_index import ImageIndex
from designer_vision.directories.model_directory import Model
from designer_vision.errors import InvalidDatasetError, InvalidModelDirectoryError
from designer_vision.loader import ImageDataset, Loader, batches
from designer_vision.precision import autocast
from designer_vision.transforms import DEFAULT_OPERATIONS, FitToNetwork, Normalize, size_after

BATCH_SIZE = 32

Probabilities = npt.NDArray[np.float64]


class Scorer:
    """A network on its device, ready to score batches.

    On a CPU an image's probabilities do not depend on the others of its batch, in bfloat16 as in float32.
    """

    def __init__(self, model: Model, device: torch.device, precision: torch.dtype) -> None:
        self.device, self._precision = device, precision
        network = networks.build(model.architecture, len(model.labels))
        network.load_state_dict(model.weights)
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._normalize = Normalize(model.mean, model.std).to(device)

    def __call__(self, images: Tensor) -> Probabilities:
        """Uint8 [n, 3, height, width] to probabilities, float64 [n, classes]."""
        with torch.inference_mode(), autocast(self.device, self._precision):
            logits = self._network(self._normalize(images.to(self.device, non_blocking=True)))
            probabilities: Probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
        return probabilities


def fit_for(model: Model, sizes: list[tuple[int, int]] | None = None) -> FitToNetwork:
    """What takes images to the network's input.

    It is what the model recorded. A classic model recorded nothing: images that all have one of `sizes` are taken as
    they are, others (and single photos, with no sizes) get the default Resize(256) and CenterCrop(224).
    """
    if model.operations is not None and model.size is not None:
        return FitToNetwork(model.operations, model.size)
    if sizes is not None and len(sizes) == 1:
        return FitToNetwork([], sizes[0])
    return FitToNetwork(DEFAULT_OPERATIONS, size_after(DEFAULT_OPERATIONS, (256, 256)))


def score(
    model: Model,
    index: ImageIndex,
    device: torch.device,
    precision: torch.dtype,
    workers: int,
    on_step: Callable[[int], None] = lambda images: None,
) -> Probabilities:
    """Score all images of a directory, labelled or not, in the order of its rows.

    Args:
        model: a trained one.
        index: the images; photos of any size.
        device: where the network computes.
        precision: the number format it computes in.
        workers: data workers.
        on_step: told how many images each batch had.

    Returns:
        float64 [images, classes].

    Raises:
        InvalidDatasetError: the first image that cannot be read.
    """
    fit = fit_for(model, index.known_sizes())
    if reason := networks.refusal_of(model.architecture, len(model.labels), 1, fit.size, training=False):
        raise InvalidDatasetError(
            f"{model.architecture.model_name} cannot take images of {fit.size[0]} x {fit.size[1]} pixels, as {index.folder} has "
            f"them: {reason}; use larger images"
        )
    loader = Loader(ImageDataset(index, fit, fit.size), workers, device)
    scorer = Scorer(model, device, precision)
    parts = []
    for batch in loader.epoch(0, batches(np.arange(len(index)), BATCH_SIZE)):
        parts.append(scorer(batch.images))
        on_step(len(batch.labels))
    probabilities = np.concatenate(parts)
    if not np.isfinite(probabilities).all():
        first = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise InvalidModelDirectoryError(f"the network gives no numbers for {index.path(first)}; train the model again")
    return probabilities
