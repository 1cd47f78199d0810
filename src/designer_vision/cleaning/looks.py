"""How pictures look, in a few numbers each: enough to find copies, and to tell that one is blank, dark or blurred."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

from designer_vision.cleaning.pool import Pool, ReadRow
from designer_vision.data.images import Pixels, Size, decode_to_resize
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.runtime.files import hash_of_bytes
from designer_vision.runtime.machine import in_order

THUMBNAIL = 32
"""Pixels of its sides, whatever the picture's shape is."""
MEASURED = 256
"""Pixels of the shorter side at which a picture is measured, about what networks see of it; a smaller one is taken as it is."""
TILES = 4
"""In each direction; the sharpest of them counts, as what lies behind the subject of a photo may be out of focus."""
SEEN = 10
"""Standard deviation of the brightness from which on a tile has something in it that can be sharp."""
DARKEST, BRIGHTEST = 1, 99
"""Percentiles: a few pixels do not count."""
STEP = 16
"""Levels of a channel that count as one colour."""
MEASURES = np.dtype(
    [
        ("is_readable", bool),
        ("size", np.int32, 2),
        ("content", "V16"),
        ("spread", np.float32),
        ("darkest", np.uint8),
        ("brightest", np.uint8),
        ("one_colour", np.float32),
        ("sharpness", np.float32),
    ]
)
"""What is measured of each picture.

is_readable: whether it can be decoded; all else is zero where not.
size: height and width in pixels.
content: a hash of the pixels.
spread: the standard deviation of the channel that varies most, 0 to 128.
darkest, brightest: the 1st and the 99th percentile of the brightness, 0 to 255.
one_colour: the share of the pixels that have the most frequent colour, in steps of 16 levels a channel.
sharpness: see `sharpness`; infinite where a picture is too small to tell.
"""


@dataclass(frozen=True)
class Looks:
    """All pictures of a pool.

    Attributes:
        measures: MEASURES [n].
        thumbnails: uint8 [n, THUMBNAIL, THUMBNAIL, 3], of a file of their own, which may be larger than memory.
        unreadable: by row, why a picture cannot be decoded.
    """

    measures: npt.NDArray[Any]
    thumbnails: Pixels
    unreadable: dict[int, str]


@contextmanager
def looked_at(pool: Pool, on_image: Callable[[], object]) -> Iterator[Looks]:
    """Decode and measure every picture, on all CPUs; the thumbnails are there while the block lasts.

    Raises:
        InvalidDatasetError: a file is missing or cannot be read. One that is read and is no picture is told in `unreadable`.
    """
    count = len(pool)
    with tempfile.TemporaryFile(prefix="designer_vision_") as file:
        thumbnails = np.memmap(file, np.uint8, "w+", shape=(count, THUMBNAIL, THUMBNAIL, 3))
        looks = Looks(np.zeros(count, MEASURES), thumbnails, {})
        with pool.reading(list(range(count))) as read:
            for row, seen in enumerate(in_order(lambda row: _seen(pool, read, row), count)):
                if isinstance(seen, InvalidDatasetError):
                    looks.unreadable[row] = seen.message
                else:
                    looks.measures[row], thumbnails[row] = seen
                on_image()
        yield looks


def _seen(pool: Pool, read: ReadRow, row: int) -> tuple[tuple[Any, ...], Pixels] | InvalidDatasetError:
    content = read(row)
    try:
        pixels, size = decode_to_resize(content, pool.name(row), measured_size)
    except InvalidDatasetError as error:
        return error
    return measure(pixels, size)


def measured_size(size: Size) -> Size | None:
    """The size at which a picture is measured; None where that is its own."""
    shorter = min(size)
    if shorter <= MEASURED:
        return None
    return round(size[0] * MEASURED / shorter), round(size[1] * MEASURED / shorter)


def measure(pixels: Pixels, size: Size) -> tuple[tuple[Any, ...], Pixels]:
    """What MEASURES has of a picture, and its thumbnail.

    Args:
        pixels: uint8 [height, width, 3], perhaps decoded smaller, as `decode_to_resize` does for `measured_size`.
        size: the picture's own.
    """
    picture = Image.fromarray(pixels)
    thumbnail = np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR))
    if smaller := measured_size(size):
        picture = picture.resize(smaller[::-1], Image.Resampling.BILINEAR)
    grey = np.asarray(picture.convert("L"))
    below = np.cumsum(np.bincount(grey.ravel(), minlength=256)) * 100 / grey.size
    red, green, blue = np.moveaxis(np.asarray(picture) // STEP, 2, 0).astype(np.uint16)
    colours = np.bincount(((red << 8) | (green << 4) | blue).ravel())
    content = bytes.fromhex(hash_of_bytes(repr(size).encode() + np.ascontiguousarray(pixels).tobytes()))
    spread = max(ImageStat.Stat(picture).stddev)
    darkest, brightest = (int(np.searchsorted(below, share)) for share in (DARKEST, BRIGHTEST))
    return (True, size, content, spread, darkest, brightest, colours.max() / grey.size, sharpness(grey)), thumbnail


def sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """How sharp the sharpest part of a picture is, whatever its contrast; infinite where it is too small, or flat.

    The variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000) over that of the
    brightness, in each of 4 x 4 tiles in which something can be seen.

    Args:
        grey: uint8 [height, width].
    """
    height, width = ((side - 2) // TILES for side in grey.shape)
    if min(height, width) < TILES:
        return float("inf")
    values = grey[: TILES * height + 2, : TILES * width + 2].astype(np.float32)
    inner = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * inner
    edges, contrast = (part.reshape(TILES, height, TILES, width).var(axis=(1, 3)) for part in (laplacian, inner))
    seen = contrast >= SEEN**2
    return float((edges[seen] / contrast[seen]).max()) if seen.any() else float("inf")
