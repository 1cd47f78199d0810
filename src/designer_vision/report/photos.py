"""Photos in a page: small copies of images, as the addresses of `img` elements."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from designer_vision.data import images
from designer_vision.data.images import Pixels
from designer_vision.runtime.errors import InvalidDatasetError

SIDE = 224
"""Pixels of a photo's longer side on the page."""


class Shown:
    """What has a photo on a page: the image, small; None where it cannot be read."""

    photo: Pixels | None

    @property
    def pictures(self) -> list[Pixels]:
        """What is seen of it, side by side."""
        return [] if self.photo is None else [self.photo]

    @property
    def sources(self) -> list[str]:
        """The pictures as addresses of `img` elements."""
        kind = "png" if self.is_small else "jpeg"
        return [_address(picture, kind) for picture in self.pictures]

    @property
    def is_small(self) -> bool:
        """Whether its single pixels shall be seen."""
        return self.photo is not None and max(self.photo.shape) <= SIDE // 2


def _address(picture: Pixels, kind: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class Card(Shown):
    """A photo with what is said about it.

    Attributes:
        name: what the person called the file.
        photo: as above.
        title: its label, say.
        lines: below it.
        fate: what became of it.
    """

    name: str
    photo: Pixels | None
    title: str
    lines: tuple[str, ...] = ()
    fate: str = ""


def thumbnail(read: Callable[[], bytes], path: Path) -> Pixels | None:
    """A small copy of an image, uint8 [height, width, 3]; None where it cannot be read."""
    try:
        return small(images.decode(read(), path))
    except InvalidDatasetError:
        return None


def small(picture: Pixels) -> Pixels:
    """A picture with sides of SIDE pixels at most."""
    photo = Image.fromarray(picture)
    photo.thumbnail((SIDE, SIDE))
    return np.array(photo)
