"""Image files that are broken, odd or hostile: the same golden pixels everywhere, or one error."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from designer_vision.data import images
from designer_vision.runtime.errors import InvalidDatasetError


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(content: bytes, message: str = "cannot be decoded|is not an image") -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidDatasetError, match=message) as caught:
        images.decode(content, "photos/x.jpg")
    assert time.monotonic() - begin < 10
    assert caught.value.message.startswith("photos/x.jpg ")
    assert "Convert to Image Directory" in caught.value.message


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def rows_of(width: int, height: int) -> bytes:
    """A grey image of zeros, packed as well as it goes."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    return chunk(b"IDAT", b"".join(packer.compress(row) for _ in range(height)) + packer.flush())


@pytest.fixture
def little_memory() -> Iterator[None]:
    """At most another gigabyte of address space, so that a bomb that goes off is a failure and not a slow machine."""
    if sys.platform != "linux":
        pytest.skip("only Linux keeps to a limit of address space")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("content", [b"", b"hello", b"<html><body>404</body></html>", b"\xff\xd8\xff", bytes(1000)])
def test_case_91_92_what_is_no_image_is_refused(content: bytes) -> None:
    refused(content)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
def test_case_93_an_image_that_is_cut_short_is_refused(kind: str, share: float) -> None:
    content = file_of(NOISE, kind)
    refused(content[: int(len(content) * share)])


def test_case_93_a_jpeg_without_its_last_byte_is_complete_enough_or_refused_but_never_half() -> None:
    content = file_of(NOISE, "JPEG")
    with contextlib.suppress(InvalidDatasetError):
        assert (images.decode(content[:-1], "x") == images.decode(content, "x")).all()


def test_case_94_the_name_plays_no_part() -> None:
    assert (images.decode(file_of(NOISE, "PNG"), "photo.jpg") == np.asarray(NOISE)).all()


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PDF"])
def test_case_94_other_formats_are_refused_whatever_their_name(kind: str) -> None:
    refused(file_of(NOISE, kind), "is not an image in one of the formats JPEG, PNG, PPM, BMP, TIFF, WEBP, GIF, AVIF, HEIF")


@pytest.mark.parametrize("side", [9_000, 13_300])
@pytest.mark.usefixtures("little_memory")
def test_case_96_97_a_decompression_bomb_is_refused_from_its_header(side: int) -> None:
    content = png(side, side, rows_of(side, side))
    assert len(content) < 300_000
    refused(content, "decompression bomb|more than 134,217,728")


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 1), (1, 10**8), (2**31 - 1, 2**31 - 1), (0, 5)])
@pytest.mark.usefixtures("little_memory")
def test_case_99_a_header_that_lies_is_refused_at_once(width: int, height: int) -> None:
    refused(png(width, height, chunk(b"IDAT", b"")))


def test_a_large_photo_of_a_camera_is_no_bomb() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    content = file_of(Image.fromarray(pixels).resize((8000, 6000)), "JPEG", quality=50)
    assert images.decode(content, "x").shape == (6000, 8000, 3)


def test_case_100_chunks_of_text_and_profiles_that_grow_are_refused() -> None:
    info = PngImagePlugin.PngInfo()
    for _ in range(100):
        info.add_text("a", "x" * 2**20, zip=True)
    refused(file_of(NOISE, "PNG", pnginfo=info))
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2**27)))
    refused(png(2, 2, profile, rows_of(2, 2)))


def test_case_100_106_broken_exif_is_passed_over() -> None:
    for exif in (
        b"Exif\0\0II*\0" + b"\xff" * 50,
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x63\0\0\0\0\0\0",
        b"Exif\0\0junk",
    ):
        content = file_of(NOISE, "JPEG", exif=exif)
        assert images.decode(content, "x").shape == (*images.size(content, "x"), 3) == (60, 80, 3)


def test_case_101_a_tiff_with_many_pages_gives_its_first_and_one_that_refers_to_itself_ends() -> None:
    pages = [Image.new("RGB", (4, 3), color) for color in ("red", *["blue"] * 300)]
    content = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert images.decode(content, "x").tolist() == [[[255, 0, 0]] * 4] * 3
    single = bytearray(file_of(Image.new("L", (4, 3), 7), "TIFF"))
    (first,) = struct.unpack_from("<I", single, 4)
    (entries,) = struct.unpack_from("<H", single, first)
    struct.pack_into("<I", single, first + 2 + 12 * entries, first)
    assert images.decode(bytes(single), "x")[0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_case_101_tiffs_are_read_whatever_their_compression_and_bombs_are_refused(compression: str) -> None:
    assert (images.decode(file_of(NOISE, "TIFF", compression=compression), "x") == np.asarray(NOISE)).all()
    bomb = bytearray(file_of(Image.new("L", (6_000, 6_000)), "TIFF", compression=compression))
    if len(bomb) * images.LARGE_PER_BYTE < 6_000 * 6_000:
        refused(bytes(bomb), "decompression bomb")


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_case_102_of_several_frames_the_first_is_taken(kind: str, options: dict[str, object]) -> None:
    frames = [Image.new("RGB", (4, 3), color) for color in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    content = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert images.decode(content, "x").tolist() == [[[255, 0, 0]] * 4] * 3


def golden(image: Image.Image, kind: str = "PNG", **options: object) -> list[int]:
    pixels = images.decode(file_of(image, kind, **options), "x")
    assert pixels.shape == (2, 2, 3)
    assert pixels.dtype == np.uint8
    return pixels[0, 0].tolist()


def palette(alpha: int | None) -> Image.Image:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    if alpha is not None:
        image.info["transparency"] = bytes([255, alpha])
    return image


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "JPEG", [254, 0, 0]),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 255)), "TIFF", [0, 0, 0]),
        (Image.new("YCbCr", (2, 2), (100, 128, 128)), "TIFF", [100, 100, 100]),
        (Image.new("I;16", (2, 2), 0x8040), "PNG", [0x80] * 3),
        (Image.new("I;16", (2, 2), 300), "PNG", [1, 1, 1]),
        (Image.new("I;16", (2, 2), 0xFFFF), "TIFF", [255] * 3),
        (Image.new("I", (2, 2), 0x4000), "TIFF", [0x40] * 3),
        (Image.new("F", (2, 2), 12.7), "TIFF", [12] * 3),
        (Image.new("F", (2, 2), float("nan")), "TIFF", [0] * 3),
        (palette(None), "PNG", [10, 20, 30]),
        (palette(0), "PNG", [255] * 3),
        (palette(128), "PNG", [132, 137, 142]),
        (Image.new("LA", (2, 2), (100, 128)), "PNG", [177] * 3),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), "WEBP", [10, 20, 30]),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "TIFF", [255] * 3),
        (Image.new("1", (2, 2), 1), "PNG", [255] * 3),
        (Image.new("1", (2, 2), 0), "PPM", [0] * 3),
        (Image.new("L", (2, 2), 77), "PPM", [77] * 3),
        (Image.new("LAB", (2, 2), (136, 128, 128)), "TIFF", [127, 127, 127]),
    ],
    ids=["CMYK", "CMYK black", "YCbCr", "16 bits", "16 bits dark", "16 bits white", "32 bits", "float", "no number", "palette",
         "transparent palette", "half transparent palette", "grey and alpha", "opaque", "transparent", "one bit", "pbm", "pgm", "Lab"],
)  # fmt: skip
def test_case_103_104_105_every_mode_has_its_golden_pixel(image: Image.Image, kind: str, expected: list[int]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.abs(np.array(golden(image, kind, **options)) - expected).max() <= 1


def test_case_104_sixteen_bits_are_scaled_by_a_256th_whatever_the_byte_order() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    expected = (values[0] // 256).tolist()
    assert images.decode(file_of(Image.fromarray(values), "PNG"), "x")[0, :, 0].tolist() == expected
    big = Image.frombytes("I;16B", (5, 1), values.astype(">u2").tobytes())
    assert images.decode(file_of(big, "TIFF"), "x")[0, :, 0].tolist() == expected


CORNERS = np.zeros((2, 3, 3), np.uint8)
CORNERS[0, 0], CORNERS[0, 2], CORNERS[1, 0], CORNERS[1, 2] = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 200)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_case_106_every_orientation_is_put_upright_as_exif_says(orientation: int, kind: str) -> None:
    stored = {
        2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1], 5: CORNERS.transpose(1, 0, 2),
        6: np.rot90(CORNERS), 7: np.rot90(CORNERS, 2).transpose(1, 0, 2), 8: np.rot90(CORNERS, -1),
    }.get(orientation, CORNERS)  # fmt: skip
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[images.ORIENTATION] = orientation
        options["tiffinfo"] = info
    else:
        options["exif"] = exif
    content = file_of(Image.fromarray(np.ascontiguousarray(stored)), kind, **options)
    assert (images.decode(content, "x") == CORNERS).all()
    assert images.size(content, "x") == (2, 3)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 60_000)])
def test_case_107_thin_images_are_decoded(size: tuple[int, int]) -> None:
    assert images.decode(file_of(Image.new("L", size)), "x").shape == (size[1], size[0], 3)


def test_case_110_a_jpeg_with_endless_scans_is_refused_before_it_is_decoded() -> None:
    content = file_of(NOISE.resize((4000, 3000)), "JPEG", progressive=True)
    assert images.decode(content, "x").shape == (3000, 4000, 3)
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    refused(content[:-2] + scan[:200] * 500 + b"\xff\xd9", "scans over")


def test_case_111_112_what_is_behind_or_beside_the_image_plays_no_part() -> None:
    for kind in ("JPEG", "PNG"):
        content = file_of(NOISE, kind)
        assert (images.decode(content + b"PK\x03\x04 another file", "x") == images.decode(content, "x")).all()
