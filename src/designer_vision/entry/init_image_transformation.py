"""Init Image Transformation: which operations images shall go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from designer_vision.entry.command_line import BOOLEAN, INTEGER, Choice, Entry, output, parameter, run
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.runtime.console import say
from designer_vision.runtime.values import MAX_SIDE, check_range

COLOR_JITTER = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.0}

PADDED = "padded"
SHAPES: dict[str, Callable[[int], Any]] = {
    "kept": lambda size: size,
    PADDED: lambda size: {"size": None, "max_size": size},
    "squashed": lambda size: {"size": [size, size]},
}
"""What Resize is given for a size: the shorter side has it, or the longer one (black is added around), or both."""


@dataclass(frozen=True)
class Choices:
    """The classic module's parameters, a switch for each operation and its one argument; and `shape`, one of SHAPES."""

    resize: bool
    size: int
    shape: str
    center_crop: bool
    crop_size: int
    pad: bool
    padding: int
    color_jitter: bool
    grayscale: bool
    random_resized_crop: bool
    random_resized_crop_size: int
    random_crop: bool
    random_crop_size: int
    random_horizontal_flip: bool
    random_vertical_flip: bool
    random_rotation: bool
    random_rotation_degrees: int
    random_affine: bool
    random_affine_degrees: int
    random_grayscale: bool
    random_perspective: bool

    def __post_init__(self) -> None:
        for name in ("size", "crop_size", "random_resized_crop_size", "random_crop_size"):
            check_range(name, getattr(self, name), 1, MAX_SIDE)
        check_range("padding", self.padding, 0, MAX_SIDE)
        for name in ("random_rotation_degrees", "random_affine_degrees"):
            check_range(name, getattr(self, name), 0, None)

    def operations(self) -> list[list[Any]]:
        """The chosen operations, in the classic module's order."""
        table: list[tuple[bool, str, Any]] = [
            (self.resize, "Resize", SHAPES[self.shape](self.size)),
            (self.resize and self.shape == PADDED, "CenterCrop", self.size),
            (self.center_crop, "CenterCrop", self.crop_size),
            (self.pad, "Pad", self.padding),
            (self.color_jitter, "ColorJitter", COLOR_JITTER),
            (self.grayscale, "Grayscale", 3),
            (self.random_resized_crop, "RandomResizedCrop", self.random_resized_crop_size),
            (self.random_crop, "RandomCrop", self.random_crop_size),
            (self.random_horizontal_flip, "RandomHorizontalFlip", {}),
            (self.random_vertical_flip, "RandomVerticalFlip", {}),
            (self.random_rotation, "RandomRotation", self.random_rotation_degrees),
            (self.random_affine, "RandomAffine", self.random_affine_degrees),
            (self.random_grayscale, "RandomGrayscale", {}),
            (self.random_perspective, "RandomPerspective", {}),
        ]
        return [[name, argument] for chosen, name, argument in table if chosen]


@click.command(cls=Entry)
@parameter("resize", BOOLEAN)
@parameter("size", INTEGER)
@parameter("shape", Choice(tuple(SHAPES)))
@parameter("center_crop", BOOLEAN)
@parameter("crop_size", INTEGER)
@parameter("pad", BOOLEAN)
@parameter("padding", INTEGER)
@parameter("color_jitter", BOOLEAN)
@parameter("grayscale", BOOLEAN)
@parameter("random_resized_crop", BOOLEAN)
@parameter("random_resized_crop_size", INTEGER)
@parameter("random_crop", BOOLEAN)
@parameter("random_crop_size", INTEGER)
@parameter("random_horizontal_flip", BOOLEAN)
@parameter("random_vertical_flip", BOOLEAN)
@parameter("random_rotation", BOOLEAN)
@parameter("random_rotation_degrees", INTEGER)
@parameter("random_affine", BOOLEAN)
@parameter("random_affine_degrees", INTEGER)
@parameter("random_grayscale", BOOLEAN)
@parameter("random_perspective", BOOLEAN)
@output("output_image_transformation")
def parse(output_image_transformation: Path, **choices: Any) -> None:
    main(Choices(**choices), output_image_transformation)


def main(choices: Choices, output_image_transformation: Path) -> None:
    """Write the TransformationDirectory of the chosen operations."""
    operations = choices.operations()
    write_transformation_directory(output_image_transformation, operations)
    say(f"operations: {operations or 'none'}")


if __name__ == "__main__":
    run(parse)
