"""Golden pixels: what every kind of image file becomes."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from designer_vision.data import images
from designer_vision.data.dataset import prepared
from designer_vision.data.transforms import compose
from designer_vision.runtime.errors import InvalidDatasetError


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def first_pixel(image: Image.Image, kind: str = "PNG", **options: object) -> tuple[int, ...]:
    return tuple(int(value) for value in images.decode(file_of(image, kind, **options), "x")[0, 0])


def test_rgb_comes_through_unchanged() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (images.decode(file_of(Image.fromarray(pixels)), "x") == pixels).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("L", (2, 2), 100), (100, 100, 100)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("I;16", (2, 2), 0x8040), (0x80, 0x80, 0x80)),
    ],
    ids=["one bit", "grey", "opaque", "transparent lies on white", "transparent grey", "16 bits are scaled, not clipped"],
)
def test_every_mode_becomes_three_channels(image: Image.Image, expected: tuple[int, ...]) -> None:
    assert first_pixel(image) == expected


def test_palettes_are_looked_up() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    assert first_pixel(image) == (9, 8, 7)


JPEG_KINDS = {
    "half the colour": {"quality": 90},
    "all the colour": {"quality": 95, "subsampling": 0},
    "colour halved across": {"quality": 75, "subsampling": 1},
    "progressive": {"quality": 60, "progressive": True},
    "coarse": {"quality": 5},
    "restart markers": {"quality": 80, "restart_marker_blocks": 2},
    "stored as RGB": {"quality": 90, "keep_rgb": True},
}


@pytest.mark.parametrize("options", JPEG_KINDS.values(), ids=JPEG_KINDS)
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(options: dict) -> None:
    for photo in load_sample_images().images:
        content = file_of(Image.fromarray(photo[:333, :451]), "JPEG", **options)  # sides that blocks of 8 and 16 do not fill
        assert (images.decode(content, "x") == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def test_a_jpeg_with_bytes_behind_its_end_is_decoded_all_the_same() -> None:
    content = file_of(Image.new("RGB", (40, 30), "red"), "JPEG")
    assert (images.decode(content + b"trailing", "x") == images.decode(content, "x")).all()


def test_cmyk_becomes_rgb() -> None:
    red, green, blue = first_pixel(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_known_from_the_header(orientation: int) -> None:
    upright = np.zeros((20, 10, 3), dtype=np.uint8)
    upright[:10, :5] = 255  # white in the top left quarter
    undo = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}[orientation]
    stored = Image.fromarray(upright).rotate(undo, expand=True)
    if orientation in (2, 4, 5, 7):
        stored = stored.transpose(Image.Transpose.FLIP_LEFT_RIGHT if orientation in (2, 4) else Image.Transpose.FLIP_TOP_BOTTOM)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(stored, "PNG", exif=exif)
    decoded = images.decode(content, "x")
    assert decoded.shape == (20, 10, 3) == (*images.size(content, "x"), 3)
    assert (decoded == upright).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        file_of(Image.new("RGB", (64, 64), "red"), "JPEG")[:-300],
        file_of(Image.new("RGB", (9, 9)), "ICO"),
    ],
    ids=["empty", "a page named .jpg", "cut short", "a format not in the list"],
)
def test_what_is_no_complete_image_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(InvalidDatasetError, match=r"dogs/3\.jpg .*Convert to Image Directory"):
        images.decode(content, "dogs/3.jpg")


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    small = file_of(Image.new("1", (1, 1)))
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + small[24:29]
    huge = small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]
    with pytest.raises(InvalidDatasetError, match=r"bomb\.png .*pixels"):
        images.decode(huge, "bomb.png")


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert (images.decode(images.encode_png(pixels), "x") == pixels).all()


def sharp_pictures() -> dict[str, np.ndarray]:
    """What no camera makes: edges from one pixel to the next, everywhere, [1504, 2000, 3]."""
    y, x = np.mgrid[:1504, :2000]
    stripes = x // 5 % 2, y // 5 % 2, (x // 16 + y // 16) % 2
    draw = np.random.default_rng(0)
    return {
        "coloured stripes": np.stack(stripes, axis=-1).astype(np.uint8) * 255,
        "lines": np.repeat(x[..., None] // 3 % 2 * 255, 3, axis=2).astype(np.uint8),
        "noise": draw.integers(0, 256, (1504, 2000, 3), np.uint8),
    }


def photos() -> dict[str, np.ndarray]:
    """Two photos as they are, and as large as a camera's."""
    found = {name: photo[:424] for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True)}
    large = {f"large {name}": np.asarray(Image.fromarray(photo).resize((2000, 1504))) for name, photo in found.items()}
    return found | large


@pytest.mark.parametrize(
    ("pictures", "mean", "most"), [(photos(), 1, 16), (sharp_pictures(), 12, 48)], ids=["photos", "sharp pictures"]
)
@pytest.mark.parametrize("subsampling", [0, 2], ids=["all the colour", "half the colour"])
def test_a_photo_decoded_smaller_is_nearly_what_it_was_after_the_resize(
    pictures: dict[str, np.ndarray], mean: float, most: int, subsampling: int
) -> None:
    """Of 255 levels, a photo's differ by 1 in the mean and 16 at most; those of the sharpest pictures by 12 and 48."""
    decoded = set()
    for name, picture in pictures.items():
        content = file_of(Image.fromarray(picture), "JPEG", quality=90, subsampling=subsampling)
        for side in (375, 300, 187, 150, 100, 93, 60):
            resize = compose([["Resize", side]])
            exact = resize(torch.from_numpy(images.decode(content, name)).permute(2, 0, 1))
            nearly = prepared(content, name, resize)
            assert nearly.shape == exact.shape
            differences = (nearly.int() - exact.int()).abs()
            assert (differences.float().mean() <= mean, differences.max() <= most) == (True, True), (name, side)
            decoded.add(round(len(picture) / len(images.decode_to_resize(content, name, resize.resized)[0])))
    assert decoded >= {2, 4, 8}


@pytest.mark.parametrize(
    ("size", "resized", "decoded"),
    [
        ((3000, 4000), (256, 341), (750, 1000)),
        ((3001, 4001), (256, 341), (1501, 2001)),
        ((3000, 4000), (150, 200), (375, 500)),
        ((1024, 1024), (256, 256), (512, 512)),
        ((1022, 1024), (256, 256), (1022, 1024)),
        ((4000, 1100), (300, 300), (4000, 1100)),
        ((375, 500), (256, 341), (375, 500)),
        ((1500, 2000), (93, 124), (375, 500)),
        ((3000, 4000), None, (3000, 4000)),
    ],
    ids=["a quarter", "odd sides", "an eighth", "just enough", "too few by two", "one side", "small", "no eighth", "no resize"],
)
def test_a_photo_is_decoded_smaller_where_both_sides_stay_twice_as_long_as_they_become(
    size: tuple[int, int], resized: tuple[int, int] | None, decoded: tuple[int, int]
) -> None:
    content = file_of(Image.new("RGB", size[::-1], "red"), "JPEG")
    pixels, own = images.decode_to_resize(content, "x", lambda found: resized if found == size else None)
    assert (pixels.shape, own) == ((*decoded, 3), size)


def other_kinds() -> dict[str, bytes]:
    """Large files of which libjpeg is not asked for less."""
    photo = Image.fromarray(load_sample_images().images[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "turned": file_of(photo, "JPEG", exif=turned),
        "progressive": file_of(photo, "JPEG", progressive=True),
        "CMYK": file_of(photo.convert("CMYK"), "JPEG"),
        "grey": file_of(photo.convert("L"), "JPEG"),
        "PNG": file_of(photo),
    }


@pytest.mark.parametrize("content", other_kinds().values(), ids=other_kinds())
def test_other_kinds_are_decoded_whole(content: bytes) -> None:
    pixels, size = images.decode_to_resize(content, "x", lambda size: (20, 20))
    assert (pixels == images.decode(content, "x")).all()
    assert size == images.size(content, "x")


def test_a_photo_that_is_cut_short_is_refused_where_it_would_be_decoded_smaller_too() -> None:
    content = file_of(Image.fromarray(load_sample_images().images[0]), "JPEG")
    assert images.decode_to_resize(content, "x", lambda size: (20, 20))[0].shape == (107, 160, 3)
    with pytest.raises(InvalidDatasetError, match="x cannot be decoded"):
        images.decode_to_resize(content[:-300], "x", lambda size: (20, 20))
