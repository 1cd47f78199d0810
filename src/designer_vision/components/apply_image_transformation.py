"""Apply Image Transformation: do what can be done once, and leave what is random to the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from designer_vision.data import images, transforms
from designer_vision.data.read_ahead import reading
from designer_vision.formats.image_directory import ImageDirectoryWriter, copy, read_image_directory, tell_reading
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import Operations
from designer_vision.formats.transformation_directory import read_transformation_directory
from designer_vision.runtime.console import say
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.runtime.files import hash_of_bytes
from designer_vision.runtime.machine import in_order
from designer_vision.runtime.progress import Progress

FOR_TRAINING, FOR_INFERENCE = "For training", "For inference"


def main(mode: str, input_image_transformation: Path, input_image_directory: Path, output_image_directory: Path) -> None:
    """Write the images, transformed, as PNG files; where nothing is to be done yet, the files as they are.

    For training, the operations up to the first random one are done here; the others are recorded, and Train PyTorch
    Model draws them anew in every epoch. For inference, random operations are left out.

    Raises:
        InvalidTransformationDirectoryError: an operation is unknown or makes no image.
        InvalidDatasetError: the first image that cannot be read.
    """
    chosen = transforms.check(read_transformation_directory(input_image_transformation), input_image_transformation)
    index = read_image_directory(input_image_directory, original_names=True)
    tell_reading(index)
    now, later = plan(chosen, mode, index.random_operations)
    progress = Progress(len(index))
    writer = ImageDirectoryWriter(
        output_image_directory,
        index.classes,
        transformation=[*index.transformation, *now],
        random_operations=later,
        weighting=index.weighting,
    )
    with writer:
        if now:
            for number, (content, height, width) in enumerate(transformed(index, now)):
                row = index.row(number)
                row.image_info.height, row.image_info.width = height, width
                row.image_info.content_hash = hash_of_bytes(content)
                writer.add(content, ".png", row)
                progress.step()
        else:
            copy(index, range(len(index)), writer, progress.step)
    say(f"done: {now or 'none'}; applied during training: {later or 'none'}")
    say(f"{len(index)} images transformed, {progress.images_per_second():.1f} images/s")


def plan(chosen: Operations, mode: str, pending: Operations) -> tuple[Operations, Operations]:
    """What to do now and what to leave to the training; `pending` is what an earlier Apply left.

    What comes behind a pending random operation has to wait with it.
    """
    if mode == FOR_INFERENCE:
        return transforms.for_inference([*pending, *chosen]), []
    if pending:
        return [], [*pending, *chosen]
    return transforms.split_at_first_random(chosen)


def transformed(index: ImageIndex, operations: Operations) -> Iterator[tuple[bytes, int, int]]:
    """PNG bytes, height and width of every image after the operations, in order, from all CPUs."""
    apply = transforms.compose(operations)
    torch.set_num_threads(1)
    with reading(index, range(len(index))) as read:
        yield from in_order(lambda number: _transform(apply, read(number), index.path(number)), len(index))


def _transform(apply: Callable[[Tensor], Tensor], content: bytes, path: Path) -> tuple[bytes, int, int]:
    pixels = torch.from_numpy(images.decode(content, path)).permute(2, 0, 1)
    try:
        image = apply(pixels)
        return images.encode_png(image.permute(1, 2, 0).numpy()), image.shape[1], image.shape[2]
    except (ValueError, RuntimeError) as error:
        height, width = pixels.shape[-2:]
        raise InvalidDatasetError(
            f"{path}, of {height} x {width} pixels, cannot be transformed: {error}; "
            "choose sizes that fit it in Init Image Transformation"
        ) from error
