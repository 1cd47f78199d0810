"""How long Clean Image Directory takes for 50,000 images beside decoding them, and what its rules find in pictures of people.

    python benchmarks/cleaning.py [IMAGES] [FOLDER ...]

The images are made: thumbnails of coloured ellipses, a tenth of them slightly changed copies of others, or all of one scene that
hardly changes, as of a camera that stands still. Of the FOLDERs all pictures at any depth are looked at. Prints Markdown.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measure import hardware

from designer_vision.cleaning.duplicates import find_copies
from designer_vision.cleaning.findings import find
from designer_vision.cleaning.looks import THUMBNAIL, looked_at
from designer_vision.cleaning.pool import Pool
from designer_vision.cleaning.wrong_labels import find_wrong_labels
from designer_vision.formats.image_directory import read_image_directory

IMAGES, CLASSES = 50_000, 100


def ellipses(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Thumbnails of four coloured ellipses on a ground each."""
    draw = np.random.default_rng(seed)
    grid = np.arange(THUMBNAIL, dtype=np.float32)
    pictures = np.broadcast_to(draw.integers(0, 256, (count, 1, 1, 3)), (count, THUMBNAIL, THUMBNAIL, 3)).astype(np.uint8)
    for _ in range(4):
        place, size = draw.uniform(0, THUMBNAIL, (2, count, 1)), draw.uniform(3, 14, (2, count, 1))
        down, across = (((grid - place[axis]) / size[axis]) ** 2 for axis in (0, 1))
        inside = down[:, :, None] + across[:, None, :] < 1
        pictures = np.where(inside[..., None], draw.integers(0, 256, (count, 1, 1, 3)).astype(np.uint8), pictures)
    return pictures


def made(count: int, still: bool) -> npt.NDArray[np.uint8]:
    """Thumbnails of which a tenth are copies: of one another, or of a single one."""
    draw = np.random.default_rng(2)
    pictures = ellipses(count, seed=1)
    copies = count // 10
    noise = draw.normal(0, 2, (copies, THUMBNAIL, THUMBNAIL, 3))
    pictures[-copies:] = np.clip((pictures[:1] if still else pictures[:copies]) + noise, 0, 255)
    return pictures


def seconds_of_copies(thumbnails: npt.NDArray[np.uint8]) -> tuple[float, float, int]:
    contents = np.arange(2 * len(thumbnails), dtype=np.uint64).view("V16")
    start, cpu = time.perf_counter(), time.process_time()
    found = find_copies(contents, thumbnails, np.arange(len(thumbnails)), fixed=0)
    return time.perf_counter() - start, time.process_time() - cpu, len(found)


def seconds_of_labels(count: int) -> tuple[float, float]:
    draw = np.random.default_rng(3)
    probabilities = draw.dirichlet(np.full(CLASSES, 0.1), count)
    start, cpu = time.perf_counter(), time.process_time()
    find_wrong_labels(draw.integers(0, CLASSES, count), probabilities)
    return time.perf_counter() - start, time.process_time() - cpu


def pictures_of_people(folder: Path) -> list[str]:
    """What is found in a folder, by kind."""
    with redirect_stdout(sys.stderr):
        pool = Pool(read_image_directory(folder, original_names=True))
    start = time.perf_counter()
    with looked_at(pool, lambda: None) as looks:
        looked = time.perf_counter() - start
        kinds = Counter(finding.kind for finding in find(pool, looks, []))
    found = ", ".join(f"{kind} {number}" for kind, number in kinds.items()) or "nothing"
    return [folder.name, f"{len(pool):,}", f"{len(pool) / looked:.0f}", found]


def main(count: int, folders: list[Path]) -> None:
    print(f"# Cleaning {count:,} images\n")
    print("| what | seconds | seconds of one core |\n|---|---|---|")
    for name, still in (("a tenth are copies of one another", False), ("a tenth are one scene that hardly changes", True)):
        seconds, cpu, found = seconds_of_copies(made(count, still))
        print(
            f"| duplicates among {count:,} thumbnails, of which {name}: {found:,} found | {seconds:.1f} | {cpu:.1f} |", flush=True
        )
    seconds, cpu = seconds_of_labels(count)
    print(f"| wrong labels by {count:,} x {CLASSES} probabilities | {seconds:.1f} | {cpu:.1f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nThe process took {peak:,.0f} MB at most, the made thumbnails in it.\n")
    if folders:
        print("| folder | images | images/s, with decoding | findings |\n|---|---|---|---|")
        for folder in folders:
            print(f"| {' | '.join(pictures_of_people(folder))} |", flush=True)
    print(f"\n* Command: `python benchmarks/cleaning.py {count} {' '.join(folder.name for folder in folders)}`")
    print(hardware(("numpy", "pillow", "simplejpeg"), "; a shared machine"), end="")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES, [Path(name) for name in sys.argv[2:]])
