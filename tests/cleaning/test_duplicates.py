from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from designer_vision.cleaning.duplicates import Copy, compare, find_copies, find_near
from designer_vision.cleaning.looks import measure, measured_size

ROWS = np.arange


def scene(seed: int, size: tuple[int, int] = (240, 320)) -> Image.Image:
    """A made picture of 12 coloured shapes, which no other seed has alike."""
    draw_from = np.random.default_rng(seed)
    picture = Image.new("RGB", size[::-1], tuple(draw_from.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        (left, top), (width, height) = draw_from.uniform(0, 0.8, 2) * size[::-1], draw_from.uniform(0.1, 0.5, 2) * size[::-1]
        draw.ellipse((left, top, left + width, top + height), fill=tuple(draw_from.integers(0, 256, 3).tolist()))
    return picture


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def looks(*pictures: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The contents and the thumbnails of some pictures."""
    seen = [measure(np.asarray(picture), picture.size[::-1]) for picture in pictures]
    return np.array([row[2] for row, _ in seen], "V16"), np.stack([thumbnail for _, thumbnail in seen])


CHANGES = {
    "half as large, JPEG 60": lambda picture: as_jpeg(picture.resize((160, 120), Image.Resampling.LANCZOS), 60),
    "a third as large, JPEG 40": lambda picture: as_jpeg(picture.resize((107, 80), Image.Resampling.BICUBIC), 40),
    "squashed to a square": lambda picture: picture.resize((224, 224), Image.Resampling.BILINEAR),
    "brighter": lambda picture: Image.fromarray(np.clip(np.asarray(picture).astype(int) * 0.8 + 40, 0, 255).astype(np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_saved_anew_is_found_and_no_other_picture_is(change: str) -> None:
    pictures = [scene(seed) for seed in range(40)]
    contents, thumbnails = looks(*pictures, *map(CHANGES[change], pictures))
    found = find_copies(contents, thumbnails, ROWS(80), fixed=0)
    pairs = {(copy.stays, copy.row) for copy in found}
    right = {(row, row + 40) for row in range(40)}
    assert pairs <= right
    assert len(pairs) >= (35 if "third" in change else 38)
    assert not any(copy.is_exact for copy in found)
    assert all(0.98 <= copy.similarity <= 1 for copy in found)


def test_pictures_that_differ_in_a_detail_are_no_duplicates() -> None:
    """A sign with another number, a face with another mouth."""
    plain, other = Image.new("RGB", (200, 200), "white"), Image.new("RGB", (200, 200), "white")
    for picture, box in ((plain, (60, 130, 140, 145)), (other, (85, 120, 115, 160))):
        draw = ImageDraw.Draw(picture)
        draw.ellipse((10, 10, 190, 190), fill="orange", outline="black", width=6)
        draw.ellipse(box, fill="darkred")
    _, thumbnails = looks(plain, other)
    assert compare(thumbnails[0], thumbnails, ROWS(2)).tolist() == [pytest.approx(1, abs=1e-4), 0]


def test_handwritten_digits_are_not_taken_for_each_other() -> None:
    from sklearn.datasets import load_digits

    digits = (load_digits().images * (255 / 16)).astype(np.uint8)
    pictures = [Image.fromarray(digit).convert("RGB") for digit in digits]
    contents, thumbnails = looks(*pictures)
    assert find_copies(contents, thumbnails, ROWS(len(digits)), fixed=0) == []


def test_equal_pixels_are_exact_and_the_first_in_the_order_stays() -> None:
    contents, thumbnails = looks(scene(1), scene(2), scene(1), scene(1))
    assert find_copies(contents, thumbnails, np.array([3, 2, 1, 0]), fixed=0) == [Copy(2, 3, 1.0, True), Copy(0, 3, 1.0, True)]


def test_those_at_the_front_that_are_fixed_are_no_copies_but_have_some() -> None:
    contents, thumbnails = looks(scene(1), scene(1), CHANGES["brighter"](scene(1)), scene(2))
    found = find_copies(contents, thumbnails, ROWS(4), fixed=2)
    assert [(copy.row, copy.stays) for copy in found] == [(2, 0)]
    assert [copy.row for copy in find_near(thumbnails, ROWS(4), fixed=0)] == [1, 2]


def test_of_a_series_each_is_close_to_the_one_that_stays_for_it() -> None:
    """Frame after frame resembles the next, and the last one not the first."""
    frames = [Image.new("RGB", (320, 240), "navy") for _ in range(30)]
    for number, frame in enumerate(frames):
        ImageDraw.Draw(frame).ellipse((number * 2, 40, number * 2 + 120, 180), fill="gold")
    _, thumbnails = looks(*frames)
    found = find_near(thumbnails, ROWS(30), fixed=0)
    stays = set(range(30)) - {copy.row for copy in found}
    assert 0 < len(found) < 29
    assert all(copy.stays in stays for copy in found)
    assert all(compare(thumbnails[copy.stays], thumbnails, np.array([copy.row]))[0] >= 0.98 for copy in found)


def test_blocks_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from designer_vision.cleaning import duplicates

    pictures = [scene(seed) for seed in range(12)]
    _, thumbnails = looks(*pictures, *(as_jpeg(picture, 70) for picture in pictures))
    whole = find_near(thumbnails, ROWS(24), fixed=2)
    monkeypatch.setattr(duplicates, "PRODUCTS", 30)
    monkeypatch.setattr(duplicates, "AT_A_TIME", 5)
    blocks = find_near(thumbnails, ROWS(24), fixed=2)
    assert [(copy.row, copy.stays) for copy in blocks] == [(copy.row, copy.stays) for copy in whole]
    assert len(whole) == 12


def test_large_pictures_are_measured_at_256_pixels_and_small_ones_as_they_are() -> None:
    assert measured_size((3000, 4000)) == (256, 341)
    assert measured_size((256, 4000)) is None


def test_no_pictures_have_no_copies(tmp_path: Path) -> None:
    assert find_copies(np.empty(0, "V16"), np.empty((0, 32, 32, 3), np.uint8), ROWS(0), fixed=0) == []
