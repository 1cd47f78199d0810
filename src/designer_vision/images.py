"""From the bytes of an image file to RGB pixels: one way, the same in training, scoring and serving."""

from __future__ import annotations

import errno
import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from designer_vision.errors import InvalidDatasetError

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 178_956_970  # Pillow's own line between a large photo and a decompression bomb
ORIENTATION = 0x0112
PASSING = {errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET, errno.EBUSY}
PAUSES = (0.1, 0.5, 2.0)
"""Seconds before each further try."""
ADVICE = "run the images through Convert to Image Directory, which leaves out what cannot be read"

# broken EXIF, odd palettes: what matters shows in the pixels. Set once: a filter for a block is not safe among threads
warnings.filterwarnings("ignore", module="PIL")

Pixels = npt.NDArray[np.uint8]


def read(path: Path) -> bytes:
    """The bytes of an image file; what may be a passing fault of a disk or a mount is tried again.

    Raises:
        InvalidDatasetError: it is missing or cannot be read.
    """
    for pause in (*PAUSES, None):
        try:
            return path.read_bytes()
        except OSError as error:
            if pause is None or error.errno not in PASSING:
                raise InvalidDatasetError(f"{path} cannot be read: {error.strerror}; copy the dataset again") from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def decode(content: bytes, name: str | Path) -> Pixels:
    """Decode an image file to RGB.

    EXIF orientation is applied, 16-bit grey is scaled (not clipped) to 8 bits, transparency is laid over white, and of
    several frames the first is taken.

    Args:
        content: the bytes of a file in one of FORMATS; its name plays no part.
        name: what the error calls it.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InvalidDatasetError: the content is no complete image of these formats, or has more than MAX_PIXELS.
    """
    with _refused(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_pixels(image.size)
        if image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1:
            with suppress(ValueError):  # damaged, or of a rarer kind: Pillow decides below what it is
                return _decode_jpeg(content)
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(_to_rgb(image))


def _decode_jpeg(content: bytes) -> Pixels:
    """By libjpeg-turbo without Pillow in between: the same pixels in half the time."""
    pixels: Pixels = simplejpeg.decode_jpeg(content)
    return pixels


def size(content: bytes, name: str | Path) -> tuple[int, int]:
    """The height and width that `decode` would give, from the header alone."""
    with _refused(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_pixels(image.size)
        width, height = image.size
        turned = image.getexif().get(ORIENTATION, 1) >= 5
        return (width, height) if turned else (height, width)


def encode_png(pixels: Pixels) -> bytes:
    """The PNG file of some pixels, lightly compressed: it is written once and read every epoch.

    Args:
        pixels: uint8 [height, width, 3].
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _check_pixels(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels are more than {MAX_PIXELS}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):  # 32-bit grey: a 16-bit PNG in some Pillow versions, else a TIFF without a range
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / 257 if values.max() > 255 else values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _refused(name: str | Path) -> Iterator[None]:
    try:
        yield
    except InvalidDatasetError:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise InvalidDatasetError(f"{name} is not an image in one of the formats {formats}; {ADVICE}") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers do: any of it means an unreadable file
        raise InvalidDatasetError(f"{name} cannot be decoded: {error or type(error).__name__}; {ADVICE}") from error
