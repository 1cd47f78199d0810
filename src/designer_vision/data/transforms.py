"""The classic designer's image operations by name, and torchvision's: which are random, and what they make of a size.

An operation is `[name, argument]` as TransformationDirectory has it. Images are uint8 tensors [3, height, width].
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from designer_vision.runtime.errors import DesignerError, InvalidTransformationDirectoryError
from designer_vision.runtime.values import MAX_SIDE

Operation = list[Any]
Size = tuple[int, int]
"""Height and width in pixels."""

IMAGE_TO_IMAGE: dict[str, type[nn.Module]] = {
    "Resize": v2.Resize,
    "CenterCrop": v2.CenterCrop,
    "Pad": v2.Pad,
    "ColorJitter": v2.ColorJitter,
    "Grayscale": v2.Grayscale,
    "RandomGrayscale": v2.RandomGrayscale,
    "RandomResizedCrop": v2.RandomResizedCrop,
    "RandomCrop": v2.RandomCrop,
    "RandomHorizontalFlip": v2.RandomHorizontalFlip,
    "RandomVerticalFlip": v2.RandomVerticalFlip,
    "RandomRotation": v2.RandomRotation,
    "RandomAffine": v2.RandomAffine,
    "RandomPerspective": v2.RandomPerspective,
}
WITHOUT_EFFECT = frozenset({"ToTensor", "ToPILImage"})
NOT_AN_IMAGE = frozenset({"Normalize", "RandomErasing", "FiveCrop", "TenCrop"})
LARGE_PHOTO: Size = (8192, 8192)
MOST_OPERATIONS = 100
THIN = 16
MAY_BE_TRUE = {"antialias", "expand", "pad_if_needed"}
DEFAULT_OPERATIONS: list[Operation] = [["Resize", 256], ["CenterCrop", 224]]
"""What images of unequal size get when nobody asked for a transformation."""


def is_random(operation: Operation) -> bool:
    """Whether two calls of the operation can differ; ColorJitter counts, whatever its name."""
    return str(operation[0]).startswith("Random") or operation[0] == "ColorJitter"


def check(
    operations: Sequence[Operation], source: object, error: type[DesignerError] = InvalidTransformationDirectoryError
) -> list[Operation]:
    """The operations, less those without effect on an image.

    Raises:
        DesignerError: of the class `error`, naming `source`: a name is not in the closed list, its result is no image or has
            sides of more than MAX_SIDE pixels, torchvision refuses its argument, or there are more than MOST_OPERATIONS.
    """
    if len(operations) > MOST_OPERATIONS:
        raise error(f"{source} has {len(operations)} operations, expected at most {MOST_OPERATIONS}")
    kept = [operation for operation in operations if str(operation[0]) not in WITHOUT_EFFECT]
    size = LARGE_PHOTO
    for operation in kept:
        try:
            _module(operation)
            size = size_after([operation], size)
            if not 0 < min(size) <= max(size) <= MAX_SIDE:
                raise ValueError(f"{operation} makes images of {size[0]} x {size[1]} pixels")
        except Exception as cause:  # torchvision's operations raise whatever their arguments lead them into
            raise error(f"{source}: {' '.join(str(cause).split())[:300]}") from cause
    return kept


def for_inference(operations: Sequence[Operation]) -> list[Operation]:
    """The operations that are not random."""
    return [operation for operation in operations if not is_random(operation)]


def split_at_first_random(operations: Sequence[Operation]) -> tuple[list[Operation], list[Operation]]:
    """What can be done once for ever, and what must be redrawn each time: all from the first random one on."""
    first = next((place for place, operation in enumerate(operations) if is_random(operation)), len(operations))
    return list(operations[:first]), list(operations[first:])


class Prepare(Protocol):
    """What takes an image to a network; it tells beforehand how large the image will be, so that it can be decoded smaller."""

    def resized(self, size: Size) -> Size | None:
        """What an image of that size is resized to before anything else; None where it is not."""

    def __call__(self, image: Tensor, size: Size | None = None) -> Tensor:
        """Uint8 [3, height, width] to the same.

        Args:
            image: as it was decoded.
            size: the image's own, where it was decoded smaller.
        """


def compose(operations: Sequence[Operation]) -> Composed:
    """One function that applies checked operations in order; random ones draw from torch's global generator."""
    return Composed(operations)


class Composed(nn.Sequential):
    """Checked operations in order, on images of any size."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__(*(_module(operation) for operation in operations))
        self._operations = list(operations)

    def forward(self, image: Tensor, size: Size | None = None) -> Tensor:
        """As Prepare has it: an image that was decoded smaller is resized to what one of its own size would be.

        Raises:
            ValueError: a thin image would become one with sides of more than MAX_SIDE (a resize keeps its shape).
        """
        height, width = (int(side) for side in image.shape[-2:])
        size = size or (height, width)
        if _is_thin(size) and image.device.type != "meta":
            made = size
            for operation in self._operations:
                made = size_after([operation], made)
                if max(made) > MAX_SIDE:
                    raise ValueError(f"{operation} would make {made[0]} x {made[1]} pixels of {size[0]} x {size[1]}")
        modules = [*self]
        if size != (height, width) and (resized := self.resized(size)):
            image, modules = functional.resize(image, [*resized]), modules[1:]
        for module in modules:
            image = module(image)
        return image

    def resized(self, size: Size) -> Size | None:
        """As Prepare has it; None also for a resize that is not torchvision's plain one, and for thin images."""
        first = self[0] if len(self) else None
        if not isinstance(first, v2.Resize) or not first.antialias or _is_thin(size) or first.interpolation != "bilinear":
            return None
        height, width = size
        if first.size is None:
            longest = max(size)
            return int(first.max_size * height / longest), int(first.max_size * width / longest)
        if first.max_size:
            return None
        if len(first.size) == 2:
            return first.size[0], first.size[1]
        short = first.size[0]
        if height <= width:
            return short, int(short * width / height)
        return int(short * height / width), short


def _is_thin(size: Size) -> bool:
    return max(size) > THIN * min(size)


def _module(operation: Operation) -> nn.Module:
    name, argument = operation
    if name in NOT_AN_IMAGE:
        raise ValueError(f"the result of {name} is not one image; leave it out")
    if not isinstance(name, str) or name not in IMAGE_TO_IMAGE:
        raise ValueError(f"{name!r} is not an operation we know; expected one of {', '.join(IMAGE_TO_IMAGE)}")
    arguments = _arguments(name, argument)
    if any(isinstance(side, (int, float)) and side > MAX_SIDE for side in _flat(arguments.values())):
        raise ValueError(f"{name} {argument!r} makes images of more than {MAX_SIDE} pixels a side")
    if name == "Grayscale":
        arguments["num_output_channels"] = 3  # the networks take three channels
    try:
        return IMAGE_TO_IMAGE[name](**arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} does not take {argument!r}: {error}") from error


def _arguments(name: str, argument: Any) -> dict[str, Any]:
    """The argument of a classic entry (a number, a list by position, or a dict by name) by parameter name."""
    parameters = list(inspect.signature(IMAGE_TO_IMAGE[name].__init__).parameters)[1:]
    if isinstance(argument, dict):
        given = dict(argument)
    else:
        values = argument if isinstance(argument, list) else [argument]
        if len(values) > len(parameters):
            raise ValueError(f"{name} takes at most {len(parameters)} values, found {len(values)}")
        given = dict(zip(parameters, values, strict=False))
    truths = [parameter for parameter, value in given.items() if isinstance(value, bool) and parameter not in MAY_BE_TRUE]
    if truths:
        raise ValueError(f"{name} has {truths[0]} {given[truths[0]]}, expected a number")
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        raise ValueError(f"{name} has no parameter {unknown[0]!r}; expected some of {', '.join(parameters)}")
    return given


def _flat(values: Any) -> list[Any]:
    return [leaf for value in values for leaf in (_flat(value) if isinstance(value, (list, tuple)) else [value])]


def size_after(operations: Sequence[Operation], size: Size) -> Size:
    """What the operations make of an image's size, without an image: a tensor on the meta device goes through."""
    with torch.random.fork_rng(devices=[]):
        image = compose(operations)(torch.empty(3, *size, dtype=torch.uint8, device="meta"))
    return int(image.shape[-2]), int(image.shape[-1])


def evaluation_operations(deterministic: Sequence[Operation], pixels_after: Size | None, training_size: Size) -> list[Operation]:
    """The deterministic operations that take any photo to the size the network was trained at.

    Args:
        deterministic: what the training images went through before the random operations.
        pixels_after: the one size of the training images then; None where they still differed.
        training_size: the size of the training images after the random operations.

    Returns:
        `deterministic` where it gives every photo that size; else with a CenterCrop behind its Resize; and where it
        has no Resize, with a Resize to the size (as 256 is to 224 where the random part crops) and a CenterCrop.
    """
    height, width = training_size
    operations = list(deterministic)
    if operations and _fixes_size(operations, training_size):
        return operations
    if any(name == "Resize" for name, _ in operations):
        return [*operations, ["CenterCrop", {"size": [height, width]}]]
    if height != width:
        return [*operations, ["Resize", {"size": [height, width]}]]  # keeps photos of the same shape whole
    cropped = pixels_after != training_size
    return [*operations, ["Resize", round(height * 8 / 7) if cropped else height], ["CenterCrop", height]]


def _fixes_size(operations: Sequence[Operation], size: Size) -> bool:
    """Whether photos of quite different shapes all come out at `size`."""
    height, width = size
    shapes = [(2 * height, 3 * width), (5 * height, 2 * width), (max(height // 2, 1), max(width // 3, 1))]
    return all(size_after(operations, shape) == size for shape in shapes)


@dataclass(frozen=True)
class EvaluationTransform:
    """Takes a photo of any size to the network's: scoring, serving and validation use the same one.

    An image that already has the size is taken as it is, since it went through the operations before.
    """

    operations: list[Operation]
    size: Size

    def __call__(self, image: Tensor, size: Size | None = None) -> Tensor:
        """As Prepare has it, to uint8 [3, *self.size]; `check_size` tells whether the operations got there."""
        if (size or tuple(image.shape[-2:])) == self.size:
            return image
        fitted: Tensor = self._composed(image, size)
        return fitted

    def resized(self, size: Size) -> Size | None:
        """As Prepare has it."""
        return None if size == self.size else self._composed.resized(size)

    @cached_property
    def _composed(self) -> Composed:
        return compose(self.operations)


def check_size(image: Tensor, size: Size) -> None:
    """Raise ValueError, with both sizes, when an image [3, height, width] does not have the network's size."""
    height, width = image.shape[-2:]
    if (height, width) != size:
        raise ValueError(f"it ends up with {height} x {width} pixels, but the network takes {size[0]} x {size[1]}")


class Normalize(nn.Module):
    """Uint8 RGB to floats with the mean and std that a network expects, on the device."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (1 / (255 * torch.tensor(std))).view(1, -1, 1, 1))
        self.register_buffer("shift", (-torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 [n, 3, height, width] to float32 of the same shape and memory format."""
        return torch.addcmul(self.shift, images.float(), self.scale)
