"""From the bytes of an image file to RGB pixels: one way, the same in training, scoring and serving."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms, UnidentifiedImageError

from designer_vision.runtime.errors import InvalidDatasetError

with suppress(ImportError):  # an endpoint whose environment lacks it takes all other formats
    from pillow_heif import register_heif_opener

    register_heif_opener()

CLASSIC_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""What the classic modules read too."""
FORMATS = (*CLASSIC_FORMATS, "GIF", "AVIF", "HEIF")
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "PPM": ".ppm", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
"""Of files in the formats that the classic modules read."""
BEGINNINGS = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("PPM", re.compile(rb"P[1-6]\s+(?:\d|#)")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("AVIF", re.compile(rb"....ftyp(?:avif|avis)", re.DOTALL)),
    ("HEIF", re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)),
)
BEGINNING = 32
"""Bytes of a file that tell its format."""
JPEG_QUALITY = 95
JPEGS = ("JPEG", "MPO")
"""Pillow calls one with several frames, as some cameras make them, MPO."""
MOST_BYTES = 512 * 2**20
"""Of an image file."""
MAX_PIXELS = 2**27
"""134 million: more than the largest usual cameras have."""
LARGE, LARGE_PER_BYTE = 2**25, 100
"""Above 34 million pixels, at most 100 for each byte of the file: a photo has 2 to 30, a decompression bomb 1,000."""
MOST_SCANNED = 2**31
"""Pixels times scans of a progressive JPEG, each of which goes over all of them: about 15 seconds of work."""
SCALES = (8, 4, 2)
"""By how much libjpeg can make a photo smaller while it decodes it."""
SPARE = 2
"""How much larger than in the end, in each direction, a photo stays that is decoded smaller: a resize does the rest."""
SHIFT = 1 / 8
"""Of a pixel of the result: by how much it may shift, as libjpeg rounds sides up that a scale does not divide."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation; 1, and whatever else stands there, is upright."""
ADVICE = "run the images through Convert to Image Directory, which leaves out what cannot be read"

# broken EXIF, odd palettes: what matters shows in the pixels. Set once: a filter for a block is not safe among threads
warnings.filterwarnings("ignore", module="PIL")

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""


def decode(content: bytes, name: str | Path) -> Pixels:
    """Decode an image file to RGB.

    EXIF orientation is applied, a broken one ignored; 16-bit grey is scaled (not clipped) to 8 bits; transparency is laid over
    white; of several frames the first is taken.

    Args:
        content: the bytes of a file in one of FORMATS; its name plays no part.
        name: what the error calls it.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InvalidDatasetError: the content is no complete image of these formats, or would take too much memory or time.
    """
    return decode_to_resize(content, name, lambda size: None)[0]


def decode_to_resize(content: bytes, name: str | Path, resized: Callable[[Size], Size | None]) -> tuple[Pixels, Size]:
    """Decode an image file to RGB that is then resized: as `decode` does, but a large photo is perhaps decoded smaller.

    libjpeg does that with plain upright JPEGs, to a half, a quarter or an eighth, where both sides stay at least SPARE times as
    long as they are in the end.

    Args:
        content, name: as for `decode`.
        resized: gives the size that an image of some size will have; None where it is not resized.

    Returns:
        uint8 [height, width, 3], and the size of the image itself.

    Raises:
        InvalidDatasetError: as `decode` does, which never depends on what becomes of the image.
    """
    with _opened(content, name) as image:
        turn = TURNS.get(_orientation(image))
        if image.format in JPEGS and image.mode == "RGB" and turn is None:
            size = image.height, image.width
            smaller = None if "progressive" in image.info else _decoded_smaller(size, resized(size))
            with suppress(ValueError):  # damaged, or of a rarer kind: Pillow decides below what it is
                pixels = _decode_jpeg(content, *(smaller or (0, 0)))
                return pixels, size if smaller else pixels.shape[:2]
        declared = image.size
        upright = image if turn is None else image.transpose(turn)
        pixels = np.array(_to_rgb(upright))
        if image.size != declared:  # a HEIF file's decoder goes by what it finds
            raise ValueError(f"it says {declared[0]} x {declared[1]} pixels and has {image.width} x {image.height}")
        return pixels, pixels.shape[:2]


def _decode_jpeg(content: bytes, height: int, width: int) -> Pixels:
    """By libjpeg-turbo without Pillow in between: the same pixels in half the time, or fewer of them where a size is given."""
    pixels: Pixels = simplejpeg.decode_jpeg(content, min_height=height, min_width=width)
    return pixels


def _decoded_smaller(size: Size, resized: Size | None) -> Size | None:
    """The size that libjpeg gives a photo of some size that will be resized; None where it is not large enough for that."""
    for scale in SCALES if resized else ():
        smaller = -(-size[0] // scale), -(-size[1] // scale)
        if resized and all(_has_room(*sides, scale) for sides in zip(size, smaller, resized, strict=True)):
            return smaller
    return None


def _has_room(side: int, smaller: int, resized: int, scale: int) -> bool:
    """Whether a side is long enough when it is decoded smaller, and rounding it up moves the result little enough."""
    return smaller >= SPARE * resized and (smaller * scale - side) * resized <= SHIFT * side


def size(content: bytes, name: str | Path) -> Size:
    """The height and width that `decode` would give, from the header alone."""
    with _opened(content, name) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


def format_of(beginning: bytes) -> str | None:
    """The format of an image file by its first BEGINNING bytes; None where it is none of FORMATS."""
    return next((name for name, pattern in BEGINNINGS if pattern.match(beginning)), None)


def readable_by_all(content: bytes, pixels: Pixels) -> tuple[bytes, str]:
    """An image file as the classic modules can read it, and its suffix; most are as they were.

    A GIF becomes a PNG. AVIF and HEIF, which hold photos, become JPEG without subsampling, since PNG would be ten times as large.

    Args:
        content: a file in one of FORMATS.
        pixels: what `decode` made of it.
    """
    found = format_of(content[:BEGINNING])
    if found == "GIF":
        return encode_png(pixels), ".png"
    if found in ("AVIF", "HEIF"):
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=JPEG_QUALITY, colorsubsampling="444"), ".jpg"
    return content, SUFFIXES.get(found or "", "")


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 (Pillow's parser raises anything at broken EXIF, which the pixels do not depend on)
        return 1


def encode_png(pixels: Pixels) -> bytes:
    """The PNG file of some pixels, lightly compressed: it is written once and read every epoch.

    Args:
        pixels: uint8 [height, width, 3].
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _check_pixels(content: bytes, image: Image.Image) -> None:
    """Refuse, from the header, what would take too much memory or time to decode."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}; make the image smaller")
    if pixels > LARGE and pixels > LARGE_PER_BYTE * len(content):
        raise ValueError(f"{image.width} x {image.height} pixels in {len(content):,} bytes; this is a decompression bomb")
    if image.format in JPEGS and (scans := content.count(b"\xff\xda")) * pixels > MOST_SCANNED:
        raise ValueError(f"{scans} scans over {image.width} x {image.height} pixels; save it as a plain JPEG")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):  # 32-bit grey: a 16-bit PNG in some Pillow versions, else a TIFF without a range
        with np.errstate(invalid="ignore"):
            values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        return Image.fromarray(np.clip(values / 256 if values.max() > 255 else values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _opened(content: bytes, name: str | Path) -> Iterator[Image.Image]:
    """The image of some bytes, not yet decoded; whatever goes wrong with it in the block is told as the file's fault."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(content, image)
            yield image
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise InvalidDatasetError(f"{name} is not an image in one of the formats {formats}; {ADVICE}") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers do: any of it means an unreadable file
        raise InvalidDatasetError(f"{name} cannot be decoded: {error or type(error).__name__}; {ADVICE}") from error
