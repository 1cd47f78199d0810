"""A list of images as the workers read it: decoded, operated on, and put together to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from designer_vision.data import images
from designer_vision.data.cache import PixelCache
from designer_vision.data.disk_cache import DiskCache
from designer_vision.data.epoch_order import Indices
from designer_vision.data.read_ahead import Images, Reserve
from designer_vision.data.transforms import Operation, Prepare, Size, check_size, compose
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError


class ImageSource(Images, Protocol):
    """What a dataset needs to know of a list of images; formats.image_index.ImageIndex is one."""

    @property
    def labels(self) -> npt.NDArray[np.int32]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Asked:
    """A batch of the plan: which images of which dataset, as they are in an epoch.

    Attributes:
        epoch: that random operations are drawn for.
        indices: of the images.
        dataset: its number among the loader's.
    """

    epoch: int
    indices: Indices
    dataset: int = 0


@dataclass(frozen=True)
class Batch:
    """Some images as the workers hand them over.

    Attributes:
        images: uint8 [n, 3, height, width], channels last in memory.
        labels: int64 [n].
        asked: what they are.
        unreadable: index to what is wrong, of the images that are left out.
    """

    images: Tensor
    labels: Tensor
    asked: Asked
    unreadable: Mapping[int, DesignerError] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """For DataLoader: copies to the GPU can then run beside its work."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


def prepared(content: bytes, name: str | Path, prepare: Prepare) -> Tensor:
    """An image file decoded and prepared, uint8 [3, height, width]: in training, scoring and serving alike.

    Args:
        content: the bytes of the file.
        name: what an error calls it.
        prepare: what every image goes through.

    Raises:
        InvalidDatasetError: it is no image that can be read.
    """
    pixels, size = images.decode_to_resize(content, name, prepare.resized)
    return prepare(torch.from_numpy(pixels).permute(2, 0, 1), size)


class ImageDataset:
    """Decodes images, prepares them for the network and applies the random operations.

    Random operations are drawn from (seed, epoch, index), so that an image looks the same whichever worker or rank reads it.

    Args:
        source: the images and their labels.
        prepare: what every image goes through.
        size: height and width that each image must have in the end.
        random_operations: redrawn for each epoch.
        seed: of the random operations.
        cache: keeps images from one epoch to the next, as they are before the random operations.
        on_disk: keeps the files that the cache has no room for.
        strict: whether an image that cannot be read ends the epoch; otherwise it is left out of its batch.
    """

    def __init__(
        self,
        source: ImageSource,
        prepare: Prepare,
        size: Size,
        random_operations: Sequence[Operation] = (),
        seed: int = 0,
        cache: PixelCache | None = None,
        on_disk: DiskCache | None = None,
        strict: bool = True,
    ) -> None:
        self.strict = strict
        self.cache, self.on_disk = cache, on_disk
        self._source = source
        self._prepare = prepare
        self.size = size
        self._randomly = compose(random_operations) if random_operations else None
        self._seed = seed
        self._labels = torch.from_numpy(source.labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._source)

    @property
    def folder(self) -> Path:
        return self._source.folder

    def path(self, index: int) -> Path:
        """The path of an image, to name it by."""
        return self._source.path(index)

    def content(self, index: int, reserve: Reserve | None = None) -> bytes | None:
        """The bytes of an image's file; None where it is in memory once decoded.

        Args:
            index: of the image.
            reserve: told how many bytes there are, before they are read from far.

        Raises:
            DesignerError: it cannot be read.
        """
        if self.cache is not None and index in self.cache:
            return None
        if self.on_disk is None or (self.cache is not None and index < len(self.cache)):
            return self._source.read(index, reserve)
        content = self.on_disk.get(index)
        if content is None:
            content = self._source.read(index, reserve)
            self.on_disk.put(index, content)
        elif reserve is not None:
            reserve(len(content))
        return content

    def image(self, epoch: int, index: int, content: Callable[[], bytes | None] | None = None) -> Tensor:
        """One image, uint8 [3, height, width].

        Args:
            epoch: that random operations are drawn for.
            index: of the image.
            content: gives what `self.content(index)` does, which has perhaps been fetched.

        Raises:
            DesignerError: it cannot be read, or does not fit.
        """
        try:
            image = self._prepared(index, content() if content else self.content(index))
            if self._randomly is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.default_generator.manual_seed(_seed_of(self._seed, epoch, index))
                    image = self._randomly(image)
            check_size(image, self.size)
        except (ValueError, RuntimeError, TypeError) as error:
            raise InvalidDatasetError(
                f"{self._source.path(index)} does not fit: {error}; "
                "give all images one size with Init and Apply Image Transformation"
            ) from error
        return image

    def _prepared(self, index: int, content: bytes | None) -> Tensor:
        """An image as it is before the random operations, decoded unless the cache has it."""
        if self.cache is not None and (kept := self.cache.get(index)) is not None:
            return kept
        assert content is not None
        image = prepared(content, self._source.path(index), self._prepare)
        if self.cache is not None:
            self.cache.put(index, image)
        return image

    def batch(self, asked: Asked, pixels: Sequence[Tensor], unreadable: Mapping[int, DesignerError]) -> Batch:
        """The images that were asked for as one batch, without those that cannot be read."""
        read = [index for index in asked.indices.tolist() if index not in unreadable]
        channels_last = [image.permute(1, 2, 0) for image in pixels]
        stacked = torch.stack(channels_last) if pixels else torch.empty(0, *self.size, 3, dtype=torch.uint8)
        return Batch(stacked.permute(0, 3, 1, 2), self._labels[read], asked, unreadable)


def _seed_of(seed: int, epoch: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0] >> np.uint64(1))
