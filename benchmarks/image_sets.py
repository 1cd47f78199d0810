"""Real images with labels from packages, as class folders of PNG files of one size.

    python benchmarks/image_sets.py FOLDER

Fashion-MNIST, openclipart and Tux Paint's stamps come from Debian, the digits from scikit-learn.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from measure import say
from PIL import Image

PACKAGES = "dataset-fashion-mnist openclipart-png tuxpaint-stamps-default"
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLIPART, STAMPS = Path("/usr/share/openclipart/png"), Path("/usr/share/tuxpaint/stamps")
SUBJECTS = ("animals", "computer", "food", "geography", "people", "recreation", "shapes", "signs_and_symbols", "transportation")
LARGE_SUBJECTS = ("computer", "recreation", "shapes", "signs_and_symbols")
OTHER_SUBJECTS = ("buildings", "decorations", "education", "electronics", "office", "plants")
SIDE = 64
MOST_PIXELS, MOST_A_CLASS, FEWEST_A_CLASS = 4_000_000, 400, 10
MOST_OF_FASHION = 12_000
Images = Iterator[tuple[str, Image.Image]]


def fashion(first: int = 0) -> Images:
    """Photos of clothes, ten classes, 28 pixels a side: 12,000 of them from the first on."""

    def numbers(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=header)

    pixels, labels = numbers("train-images-idx3-ubyte.gz", 16), numbers("train-labels-idx1-ubyte.gz", 8)
    some = slice(first, first + MOST_OF_FASHION)
    for image, label in zip(pixels.reshape(-1, 28, 28)[some], labels[some], strict=True):
        yield str(label), Image.fromarray(image)


def clipart(subjects: Sequence[str] = SUBJECTS, first: int = 0) -> Images:
    """Drawings of some subjects, at most 400 of each from the first on, in an order that is drawn."""
    for subject in subjects:
        yield from ((subject, image) for image in drawings(CLIPART / subject, MOST_A_CLASS, first))


def stamps() -> Images:
    """Photos and drawings of things, in the classes that have ten or more."""
    for folder in sorted(STAMPS.iterdir()):
        found = list(drawings(folder, MOST_A_CLASS)) if folder.is_dir() else []
        if len(found) >= FEWEST_A_CLASS:
            yield from ((folder.name, image) for image in found)


def digits() -> Images:
    """Handwritten digits, 8 pixels a side, four times as large."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for image, label in zip(found.images, found.target, strict=True):
        yield str(label), Image.fromarray(np.kron(image * 255 / 16, np.ones((4, 4))).astype(np.uint8))


def drawings(folder: Path, most: int, first: int = 0) -> Iterator[Image.Image]:
    """PNG files below a folder, each once, on white, the middle square of their shorter side at 64 pixels."""
    files = [path for path in sorted(folder.rglob("*.png")) if not path.is_symlink()]
    order = np.random.default_rng(0).permutation(len(files))[first : first + most]
    for path in (files[number] for number in order):
        with suppress(Image.DecompressionBombError), warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if image.width * image.height <= MOST_PIXELS and min(image.size) >= 8:
                yield squared(image.convert("RGBA"))


def squared(image: Image.Image) -> Image.Image:
    on_white = Image.new("RGBA", image.size, "white")
    on_white.alpha_composite(image)
    scale = SIDE / min(image.size)
    size = (max(SIDE, round(image.width * scale)), max(SIDE, round(image.height * scale)))
    small = on_white.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (small.width - SIDE) // 2, (small.height - SIDE) // 2
    return small.crop((left, top, left + SIDE, top + SIDE))


SETS: dict[str, Callable[[], Images]] = {
    "fashion": fashion,
    "clipart": clipart,
    "stamps": stamps,
    "digits": digits,
    "fashion_unseen": lambda: fashion(MOST_OF_FASHION),
    "clipart_unseen": lambda: clipart(LARGE_SUBJECTS, MOST_A_CLASS),
    "objects_unseen": lambda: clipart(OTHER_SUBJECTS),
}
"""The unseen ones share no picture with the others: choices.py never looks at them, so they tell what its choices are worth."""
UNSEEN = tuple(name for name in SETS if name.endswith("_unseen"))


def make(folder: Path) -> None:
    """All sets that are not there yet, each in a folder of its name.

    Raises:
        SystemExit: a package is not installed.
    """
    if missing := [str(place) for place in (FASHION, CLIPART, STAMPS) if not place.exists()]:
        raise SystemExit(f"{', '.join(missing)} are not there; try: apt-get install {PACKAGES}")
    for name, images in SETS.items():
        if (folder / name).exists():
            continue
        begun = folder / f"{name}.unfinished"
        shutil.rmtree(begun, ignore_errors=True)
        seen = {path.read_bytes() for path in folder.glob("clipart/*/*.png")} if name in UNSEEN else set()
        count = 0
        for count, (label, image) in enumerate(images(), 1):
            (begun / label).mkdir(parents=True, exist_ok=True)
            path = begun / label / f"{count:05}.png"
            image.save(path)
            if path.read_bytes() in seen:  # openclipart has some pictures in several folders
                path.unlink()
        begun.rename(folder / name)
        say(f"{name}: {count} images")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
