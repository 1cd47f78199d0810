"""A trained network's probabilities for images: by folder, batched, and for single photos at an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from designer_vision.data import images
from designer_vision.data.dataset import Asked, ImageDataset, prepared
from designer_vision.data.epoch_order import batches
from designer_vision.data.loader import Loader
from designer_vision.data.transforms import DEFAULT_OPERATIONS, EvaluationTransform, Normalize, Size, check_size, size_after
from designer_vision.data.workers import shared_memory_for_batches, workers_that_fit, workers_within_limits
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import MANIFEST
from designer_vision.formats.model_directory import Model, read_model_directory
from designer_vision.networks import builders
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import (
    DesignerError,
    InvalidDatasetError,
    InvalidModelDirectoryError,
    ModuleOutOfMemoryError,
    is_out_of_memory,
)
from designer_vision.runtime.gpus import describe
from designer_vision.runtime.precision import autocast

BATCH_SIZE, GPU_BATCH_SIZE = 32, 128
"""Images at a time; a GPU is not busy with a few."""

Probabilities = npt.NDArray[np.float64]


def read_trained_model(folder: Path) -> Model:
    """Read a model that images can be given to.

    Raises:
        InvalidModelDirectoryError: it is untrained or damaged, or its record claims an input that its network cannot take.
    """
    model = read_model_directory(folder)
    if not model.is_trained:
        raise InvalidModelDirectoryError(f"{folder} is an untrained model; connect the output of Train PyTorch Model")
    if model.size is not None and (reason := _refusal_of(model, model.size)):
        raise InvalidModelDirectoryError(
            f"{folder / MANIFEST} says that the input has {model.size[0]} x {model.size[1]} pixels, which "
            f"{model.architecture.model_name} cannot take: {reason}; copy the folder again, or train the model again"
        )
    return model


def _refusal_of(model: Model, size: Size) -> str:
    """Why the model's network cannot take images of this size; empty if it can."""
    return builders.refusal_of(model.architecture, len(model.labels), 1, size, training=False)


@dataclass(frozen=True)
class Scores:
    """What a network says of the images that could be read.

    Attributes:
        index: these images.
        probabilities: float64 [images, classes], in the order of its rows.
        unreadable: a line about each image that could not be read, or does not fit.
    """

    index: ImageIndex
    probabilities: Probabilities
    unreadable: list[str]


def batch_size_for(device: torch.device, workers: int = 0, image_bytes: int = 0, room: int = 0) -> int:
    """How many images a device computes at a time.

    Args:
        device: that computes.
        workers: that hand the images over.
        image_bytes: of one image.
        room: bytes of shared memory; where the workers have none for large batches, small ones are better than fewer workers.
    """
    is_large = device.type == "cuda" and workers_that_fit(workers, GPU_BATCH_SIZE * image_bytes, room) == workers
    return GPU_BATCH_SIZE if is_large else BATCH_SIZE


class Scorer:
    """A network on its device, ready to score batches.

    On a CPU an image's probabilities do not depend on the others of its batch, in bfloat16 as in float32.
    """

    def __init__(self, model: Model, device: torch.device, precision: torch.dtype) -> None:
        self.device, self._precision = device, precision
        self._at_once = batch_size_for(device)
        network = builders.build(model.architecture, len(model.labels))
        network.load_state_dict(model.weights)
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._normalize = Normalize(model.mean, model.std).to(device)
        self._temperature = model.temperature

    def __call__(self, images: Tensor) -> Probabilities:
        """Uint8 [n, 3, height, width] to probabilities, float64 [n, classes].

        What does not fit into memory at once is halved, from then on.

        Raises:
            ModuleOutOfMemoryError: a single image does not fit.
        """
        parts: list[Probabilities] = []
        done = 0
        while done < len(images):
            part = images[done : done + self._at_once]
            found = self._in_memory(part)
            if found is None:
                self._at_once = len(part) // 2
                say(f"warning: {len(part)} images at once do not fit into memory; from now on {self._at_once}")
                continue
            parts.append(found)
            done += len(part)
        return np.concatenate(parts)

    def _in_memory(self, images: Tensor) -> Probabilities | None:
        """What `__call__` gives; None where several images do not fit, whose memory is free again then."""
        try:
            return self._probabilities(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                raise self._too_small(images, error) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _too_small(self, image: Tensor, error: Exception) -> ModuleOutOfMemoryError:
        height, width = image.shape[-2:]
        return ModuleOutOfMemoryError(
            f"one image of {height} x {width} pixels does not fit into the memory of the {describe(self.device)}: "
            f"{' '.join(str(error).split())[:200]}; close whatever else uses it, choose a machine with more"
            + (", or set CUDA_VISIBLE_DEVICES=-1 to compute on the CPU" if self.device.type == "cuda" else "")
        )

    def _probabilities(self, images: Tensor) -> Probabilities:
        with torch.inference_mode(), autocast(self.device, self._precision):
            logits = self._network(self._normalize(images.to(self.device, non_blocking=True)))
            probabilities: Probabilities = torch.softmax(logits.double() / self._temperature, dim=1).cpu().numpy()
        return probabilities


def fit_for(model: Model, sizes: list[tuple[int, int]] | None = None) -> EvaluationTransform:
    """What takes images to the network's input.

    It is what the model recorded. A classic model recorded nothing: images that all have one of `sizes` are taken as
    they are, others (and single photos, with no sizes) get the default Resize(256) and CenterCrop(224).
    """
    if model.operations is not None and model.size is not None:
        return EvaluationTransform(model.operations, model.size)
    if sizes is not None and len(sizes) == 1:
        return EvaluationTransform([], sizes[0])
    return EvaluationTransform(DEFAULT_OPERATIONS, size_after(DEFAULT_OPERATIONS, (256, 256)))


def pixels_of(content: bytes, name: str, fit: EvaluationTransform) -> Tensor:
    """An image file as the network takes it, uint8 [3, *fit.size].

    Args:
        content: the bytes of the file.
        name: what the error calls it.
        fit: takes a photo to the network's input.

    Raises:
        InvalidDatasetError: it is no image that can be read, or does not fit.
    """
    try:
        pixels = prepared(content, name, fit)
        check_size(pixels, fit.size)
    except (ValueError, RuntimeError, TypeError) as error:
        raise InvalidDatasetError(f"{name} does not fit: {error}") from error
    return pixels


def score(
    model: Model,
    index: ImageIndex,
    device: torch.device,
    precision: torch.dtype,
    workers: int,
    on_step: Callable[[int], None] = lambda images: None,
    patience: timedelta = timedelta(minutes=5),
) -> Scores:
    """Score the images of a directory, labelled or not; those that cannot be read are left out.

    Args:
        model: as `read_trained_model` gives it.
        index: the images; photos of any size.
        device: where the network computes.
        precision: the number format it computes in.
        workers: data workers that are wanted; there are fewer where shared memory is short.
        on_step: told how many images each batch had.
        patience: how long a batch may take.

    Raises:
        InvalidDatasetError: no image can be read, or the network cannot take images of their size.
    """
    fit = fit_for(model, None if model.size else index.known_sizes(strict=False))
    if model.size is None and (reason := _refusal_of(model, fit.size)):
        raise InvalidDatasetError(
            f"{model.architecture.model_name} cannot take images of {fit.size[0]} x {fit.size[1]} pixels, as {index.folder} has "
            f"them: {reason}; use larger images"
        )
    image_bytes = 3 * fit.size[0] * fit.size[1]
    batch_size = batch_size_for(device, workers, image_bytes, shared_memory_for_batches())
    workers = workers_within_limits(workers, batch_size * image_bytes)
    loader = Loader([ImageDataset(index, fit, fit.size, strict=False)], workers, device, patience, batch_size)
    scorer = Scorer(model, device, precision)
    parts: list[Probabilities] = []
    unreadable: dict[int, DesignerError] = {}
    for batch in loader.batches(Asked(0, indices) for indices in batches(np.arange(len(index)), batch_size)):
        if len(batch.labels):
            parts.append(scorer(batch.images))
        unreadable |= batch.unreadable
        on_step(len(batch.labels) + len(batch.unreadable))
    lines = [f"{index.name(row)}: {error.message.removesuffix(f'; {images.ADVICE}')}" for row, error in unreadable.items()]
    if not parts:
        raise InvalidDatasetError(f"none of the {len(index)} images in {index.folder} can be scored; the first: {lines[0]}")
    if unreadable:
        index = index.subset(np.delete(np.arange(len(index)), list(unreadable)))
    probabilities = np.concatenate(parts)
    if not np.isfinite(probabilities).all():
        first = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise InvalidModelDirectoryError(f"the network gives no numbers for {index.path(first)}; train the model again")
    return Scores(index, probabilities, lines)
