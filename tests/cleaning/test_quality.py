from __future__ import annotations

import numpy as np
import pytest
from cleaning.test_duplicates import scene
from PIL import Image, ImageFilter

from designer_vision.cleaning.looks import MEASURES, Looks, measure, sharpness
from designer_vision.cleaning.quality import (
    BLANK,
    BLURRED,
    BRIGHT,
    DARK,
    ODD_SHAPE,
    ONE_COLOUR,
    RULES,
    TINY,
    UNREADABLE,
    odd_pictures,
)


def looks(*pictures: Image.Image) -> Looks:
    measures = np.zeros(len(pictures), MEASURES)
    for row, picture in enumerate(pictures):
        measures[row] = measure(np.asarray(picture), picture.size[::-1])[0]
    return Looks(measures, np.empty(0, np.uint8), {})


def found(*odd: Image.Image) -> dict[str, list[int]]:
    """The kinds of some pictures among twenty usual ones, which have none."""
    usual = [scene(seed) for seed in range(20)]
    kinds = odd_pictures(looks(*odd, *usual), len(odd) + 20)
    assert list(kinds) == list(RULES)
    return {kind: [row for row, _ in rows] for kind, rows in kinds.items() if rows}


def test_usual_pictures_are_of_no_kind() -> None:
    assert found() == {}


def test_blank_pictures_are_blank_and_nothing_else() -> None:
    noise = np.random.default_rng(1).integers(0, 4, (200, 300, 3)).astype(np.uint8)
    kinds = found(Image.new("RGB", (300, 200), "white"), Image.fromarray(noise), Image.new("RGB", (300, 200), "red"))
    assert {kind: sorted(rows) for kind, rows in kinds.items()} == {BLANK: [0, 1, 2]}


def test_a_picture_of_two_colours_as_bright_as_each_other_is_not_blank() -> None:
    pixels = np.full((200, 300, 3), (200, 0, 0), np.uint8)
    pixels[:, 150:] = (0, 102, 0)
    assert BLANK not in found(Image.fromarray(pixels))


def test_dark_bright_and_one_colour() -> None:
    dark = Image.fromarray((np.asarray(scene(50)) // 8).astype(np.uint8))
    bright = Image.fromarray((np.asarray(scene(51)) // 12 + 234).astype(np.uint8))
    dot = Image.new("RGB", (300, 200), "white")
    dot.paste("black", (100, 100, 115, 115))
    kinds = found(dark, bright, dot)
    assert (kinds[DARK], kinds[BRIGHT], kinds[ONE_COLOUR]) == ([0], [1], [2])


@pytest.mark.parametrize("blur", [4, 6])
def test_a_blurred_copy_is_blurred_and_a_sharp_subject_before_a_blurred_background_is_not(blur: int) -> None:
    blurred = scene(60).filter(ImageFilter.GaussianBlur(blur))
    in_focus = blurred.copy()
    in_focus.paste(scene(60).crop((100, 80, 200, 160)), (100, 80))
    assert found(blurred, in_focus)[BLURRED] == [0]


def test_where_all_are_smooth_none_is_blurred() -> None:
    smooth = [scene(seed).filter(ImageFilter.GaussianBlur(5)) for seed in range(10)]
    assert odd_pictures(looks(*smooth), 10)[BLURRED] == []


def test_sharpness_does_not_depend_on_contrast_and_is_not_told_of_small_or_flat_pictures() -> None:
    grey = np.asarray(scene(1).convert("L"))
    assert sharpness((grey // 2).astype(np.uint8)) == pytest.approx(sharpness(grey), rel=0.2)
    assert sharpness(grey[:12, :12]) == sharpness(np.full((100, 100), 7, np.uint8)) == float("inf")


def test_tiny_and_odd_shapes_are_so_beside_the_others_only() -> None:
    kinds = found(scene(70, (20, 24)), scene(71, (40, 400)))
    assert (kinds[TINY], kinds[ODD_SHAPE]) == ([0], [1])
    digits, strips = [scene(seed, (8, 8)) for seed in range(5)], [scene(seed, (40, 400)) for seed in range(5)]
    assert odd_pictures(looks(*digits), 5)[TINY] == odd_pictures(looks(*strips), 5)[ODD_SHAPE] == []


def test_what_cannot_be_read_has_its_reason_and_is_nothing_else() -> None:
    kinds = odd_pictures(Looks(np.zeros(1, MEASURES), np.empty(0, np.uint8), {0: "it is broken"}), 1)
    assert {kind: rows for kind, rows in kinds.items() if rows} == {UNREADABLE: [(0, "it is broken")]}
