"""A photo that is made much smaller: decoded whole, and decoded smaller by libjpeg, then resized to 256.

    python benchmarks/scaled_decoding.py RUNS

Each figure is the median of RUNS over the sample photos, both ways in turn. Prints a table as Markdown, then the raw figures.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import numpy as np
import torch
from components import milliseconds_an_image
from measure import conditions, summary
from photos import sample_images
from PIL import Image

from designer_vision.data import images
from designer_vision.data.dataset import prepared
from designer_vision.data.transforms import compose

SIZES = ((4000, 3000), (4032, 3024), (4001, 3001), (1600, 1200), (500, 375))
SIDE = 256


def whole(content: bytes, resize: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return resize(torch.from_numpy(images.decode(content, "photo")).permute(2, 0, 1))


def jpeg(image: Image.Image, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main(runs: int) -> None:
    torch.set_num_threads(1)
    resize = compose([["Resize", SIDE]])
    raw: dict[str, list[float]] = {}
    print(f"| photo | decoded to | whole, ms | smaller, ms | mean and largest difference to whole, of 255 |\n|{'---|' * 5}")
    for size in SIZES:
        contents = [jpeg(image, size) for image in sample_images().values()]
        ways: dict[str, Callable[[int], object]] = {
            "whole": lambda number, contents=contents: whole(contents[number], resize),
            "smaller": lambda number, contents=contents: prepared(contents[number], "photo", resize),
        }
        name = f"{size[0]} x {size[1]}"
        for _ in range(runs):
            for way, read in ways.items():
                raw.setdefault(f"{name}, {way}", []).append(milliseconds_an_image(read, len(contents)))
        differences = [(whole(content, resize).int() - prepared(content, "photo", resize).int()).abs() for content in contents]
        mean = np.mean([float(difference.float().mean()) for difference in differences])
        most = max(int(difference.max()) for difference in differences)
        height, width, _ = images.decode_to_resize(contents[0], "photo", resize.resized)[0].shape
        times = " | ".join(summary(raw[f"{name}, {way}"]) for way in ways)
        print(f"| {name} | {width} x {height} | {times} | {mean:.2f}, {most} |")
    print(f"\n* Milliseconds of one core from the file's bytes to uint8, its shorter side {SIDE}; medians, minimum to maximum.")
    print("* The photos are the nine sample images of `benchmarks/photos.py`, made as large, JPEG quality 90, half the colour.")
    print(f"* Command: `python benchmarks/scaled_decoding.py {runs}`")
    print(*conditions(("torch", "torchvision", "pillow", "simplejpeg")).splitlines()[:2], sep="\n")  # nothing was repeated
    print(f"\nRaw figures: `{json.dumps({name: [round(value, 2) for value in values] for name, values in raw.items()})}`")


if __name__ == "__main__":
    main(int(sys.argv[1]))
