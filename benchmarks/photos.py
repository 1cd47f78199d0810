"""Photos of about 500 x 375 pixels for the benchmarks, from the sample images that scikit-learn and scikit-image ship.

    python benchmarks/photos.py FOLDER COUNT

Each class is one sample image; each photo is a random part of it, resized, with JPEG quality 90. The seed is fixed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from sklearn.datasets import load_sample_images

SAMPLES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def sample_images() -> dict[str, Image.Image]:
    """Nine photos by name."""
    folder = Path(skimage.__file__).parent / "data"
    images = {Path(name).stem: Image.open(folder / name).convert("RGB") for name in SAMPLES}
    china, flower = load_sample_images().images
    return images | {"china": Image.fromarray(china), "flower": Image.fromarray(flower)}


def write_photos(folder: Path, count: int, seed: int = 1) -> None:
    """Write `<class>/<number>.jpg`."""
    draw = np.random.default_rng(seed)
    samples = sample_images()
    for number in range(count):
        name = list(samples)[number % len(samples)]
        sample = samples[name]
        part = draw.uniform(0.5, 1, 2) * sample.size
        left, top = draw.uniform(0, 1, 2) * (sample.size - part)
        size = tuple(int(side) for side in (500, 375) * draw.uniform(0.95, 1.05, 2))
        photo = sample.resize(size, Image.Resampling.BICUBIC, (left, top, left + part[0], top + part[1]))
        path = folder / name / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path, quality=90)


if __name__ == "__main__":
    write_photos(Path(sys.argv[1]), int(sys.argv[2]))
