"""What happens to an image between its file and the network, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designer_vision.data.transforms import (
    DEFAULT_OPERATIONS,
    EvaluationTransform,
    Operation,
    Prepare,
    Size,
    compose,
    evaluation_operations,
    for_inference,
    size_after,
)
from designer_vision.runtime.errors import InvalidDatasetError

MOST_SIZES = 200


@dataclass(frozen=True)
class Preprocessing:
    """The plan for a training set.

    Attributes:
        operations: done to every training image before the random ones; empty where Apply has done all.
        random_operations: redrawn for each epoch.
        size: height and width of every training image in the end.
        evaluation: what takes validation images, scored images and photos sent to an endpoint to that size.
    """

    operations: list[Operation]
    random_operations: list[Operation]
    size: Size
    evaluation: EvaluationTransform

    @property
    def prepare(self) -> Prepare:
        """What every training image goes through first."""
        return compose(self.operations)


def plan_preprocessing(
    folder: Path, sizes: Sequence[Size], transformation: list[Operation], random_operations: list[Operation]
) -> Preprocessing:
    """Decide from the sizes of the training images and what Apply Image Transformation recorded.

    Args:
        folder: what the error names.
        sizes: the different sizes of the images, as they are now.
        transformation: the deterministic operations they have been through.
        random_operations: the operations that Apply left for training.

    Raises:
        InvalidDatasetError: a transformation was applied and leaves the images at different sizes, or does not fit them.
    """
    operations: list[Operation] = []
    ends = _sizes_after(folder, random_operations, sizes)
    if len(set(ends.values())) > 1:
        if transformation or random_operations:
            one, other = sorted(ends)[0], sorted(ends)[-1]
            raise InvalidDatasetError(
                f"the images of {folder} have different sizes after their transformation, such as {one[0]} x {one[1]} and "
                f"{other[0]} x {other[1]}; add a resize and a centre crop in Init Image Transformation"
            )
        operations = DEFAULT_OPERATIONS
        ends = _sizes_after(folder, operations, sizes)
    size = next(iter(ends.values()))
    without_chance = [*operations, *for_inference(random_operations)]
    before = set(_sizes_after(folder, without_chance, sizes).values())
    pixels_after = before.pop() if len(before) == 1 else None
    evaluation = evaluation_operations([*transformation, *without_chance], pixels_after, size)
    return Preprocessing(operations, random_operations, size, EvaluationTransform(evaluation, size))


def _sizes_after(folder: Path, operations: Sequence[Operation], sizes: Sequence[Size]) -> dict[Size, Size]:
    """What the operations make of each size; of many, evenly spaced ones: an image that does not fit is named when it is read."""
    if not operations:
        return {size: size for size in sizes}
    some = [*sorted(sizes)[:: -(-len(sizes) // MOST_SIZES)], sizes[-1]]
    try:
        return {size: size_after(operations, size) for size in some}
    except (ValueError, RuntimeError, TypeError) as error:
        raise InvalidDatasetError(f"the images of {folder} cannot go through {list(operations)}: {error}") from error
