"""Everything but the training: reading an image, converting, applying, scoring, and how soon a process is at work.

    python benchmarks/components.py FOLDER RUNS

Each line is the median of RUNS, the peer's and ours in turn. Prints a table as Markdown, then the raw figures.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import conditions, prepare, run, say, summary
from PIL import Image
from torchvision import transforms
from training import prepared, ranks, training_words, transformation_flags, untrained

ONE_PROCESS = Path(__file__).parent / "peers" / "one_process.py"
PHOTOS, PHOTOS_TO_READ = 500, 256


def entry(stem: str, **flags: object) -> list[object]:
    return [
        sys.executable,
        "-m",
        f"designer_vision.entry.{stem}",
        *(w for name, value in flags.items() for w in (f"--{name}", value)),
    ]


def images_per_second(words: list[object], writes: list[Path]) -> float:
    """Of a command that ends by saying it: its imports are left out."""
    lines = run(words, ranks(1), writes).lines
    return float(re.findall(r"([\d.]+) images/s", "\n".join(line for _, line in lines))[-1])


def milliseconds_an_image(read: Callable[[int], object], count: int) -> float:
    read(0)
    start = time.process_time()
    for number in range(count):
        read(number)
    return (time.process_time() - start) / count * 1000


def reading(folder: Path, runs: int) -> dict[str, list[float]]:
    """Milliseconds of one core an image: file to a random crop of 224 x 224, flipped or not."""
    from designer_vision.data.cache import shared_cache
    from designer_vision.data.dataset import ImageDataset
    from designer_vision.data.transforms import compose
    from designer_vision.formats.image_directory import read_image_directory

    torch.set_num_threads(1)
    index = read_image_directory(prepared(folder, PHOTOS_TO_READ) / "training")
    ours = ImageDataset(index, compose([]), (224, 224), index.random_operations, 1)
    cached = ImageDataset(index, compose([]), (224, 224), index.random_operations, 1)
    theirs = transforms.Compose([
        transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    figures: dict[str, list[float]] = {"PIL and torchvision to floats": [], "ours to uint8": [], "ours from the cache": []}
    with shared_cache(index.all_sizes(), 10**9, True, lambda said: said) as cached.cache:
        for number in range(len(index)):
            cached.image(1, number)
        for _ in range(runs):
            figures["PIL and torchvision to floats"].append(
                milliseconds_an_image(lambda number: theirs(Image.open(index.path(number)).convert("RGB")), len(index))
            )
            figures["ours to uint8"].append(milliseconds_an_image(lambda number: ours.image(1, number), len(index)))
            figures["ours from the cache"].append(milliseconds_an_image(lambda number: cached.image(2, number), len(index)))
    return figures


def pixel_difference(folder: Path) -> float:
    """Mean absolute difference, in levels of 255, of the same crop resized by us and by PIL with torchvision."""
    from torchvision.transforms.v2 import functional as ours

    differences = []
    for path in sorted((prepared(folder, PHOTOS_TO_READ) / "photos").rglob("*.jpg"))[:50]:
        image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        box = (20, 30, 300, 400)
        mine = ours.resized_crop(pixels, *box, [224, 224], antialias=True)
        other = np.asarray(transforms.functional.resized_crop(image, *box, [224, 224]))
        differences.append(np.abs(mine.permute(1, 2, 0).numpy().astype(int) - other.astype(int)).mean())
    return float(np.mean(differences))


def main(folder: Path, runs: int) -> None:
    photos, to_read = prepared(folder, PHOTOS), prepared(folder, PHOTOS_TO_READ)
    model = folder / "scored_model"
    scratch = folder / "scratch"
    if not model.exists():
        prepare(*training_words(untrained(folder, "resnet18"), to_read / "training", photos / "validation", model, "16"))
    shutil.rmtree(scratch, ignore_errors=True)
    flags = transformation_flags({"center_crop": True, "random_horizontal_flip": True})
    prepare(*entry("init_image_transformation"), *flags, "--output_image_transformation", scratch / "transformation")
    apply = entry("apply_image_transformation", mode="For training", input_image_transformation=scratch / "transformation",
                  input_image_directory=photos / "converted", output_image_directory=scratch / "applied")  # fmt: skip
    prepare(*apply)
    (scratch / "applied").rename(scratch / "images")
    outputs = [scratch / name for name in ("one", "two", "scored", "applied")]
    convert = entry("convert_to_image_directory", input_dataset=photos / "photos", output_image_directory=scratch / "two")
    score = entry(
        "score_image_model", trained_model=model, dataset=scratch / "images", threshold=0, scored_dataset=scratch / "scored"
    )
    script = [sys.executable, ONE_PROCESS]
    rows = [
        ("Convert, images/s", [*script, "convert", photos / "photos", scratch / "one"], convert),
        ("Apply, images/s", [*script, "apply", photos / "photos", scratch / "one"], apply),
        ("Score, images/s", [*script, "score", scratch / "images/image", model], score),
    ]
    figures: dict[str, list[float]] = reading(folder, runs)
    for name, theirs, ours in rows:
        for _ in range(runs):
            for who, words in (("peer", theirs), ("ours", ours)):
                figures.setdefault(f"{name}: {who}", []).append(images_per_second(words, outputs))
        say(f"{name}: {figures[f'{name}: peer']} {figures[f'{name}: ours']}")
    figures["--help of an entry, s"] = [run([*entry("train_pytorch_model"), "--help"]).seconds for _ in range(runs)]
    print("# Reading, converting, applying, scoring, starting\n")
    print("| what | median (min to max) |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {summary(values, 2)} |")
    peer, mine = (statistics.median(figures[name]) for name in ("PIL and torchvision to floats", "ours to uint8"))
    print(f"\n* Reading an image: {peer / mine:.2f} times PIL and torchvision; from the cache "
          f"{peer / statistics.median(figures['ours from the cache']):.1f} times.")  # fmt: skip
    print(f"* Mean absolute difference of a crop's pixels to PIL's: {pixel_difference(folder):.3f} of 255 levels.")
    for name, _, _ in rows:
        peer, mine = (statistics.median(figures[f"{name}: {who}"]) for who in ("peer", "ours"))
        print(f"* {name}: {mine / peer:.2f} times the peer.")
    print(f"* The peers are `benchmarks/peers/one_process.py`; {PHOTOS} photos; ResNet-18 scores what Apply wrote.")
    print("* images/s are those that each command prints: imports are left out. Reading is in milliseconds of one core an image.")
    print(f"* Command: `python benchmarks/components.py FOLDER {runs}`")
    print(conditions(("torch", "torchvision", "pillow", "simplejpeg")))
    print(f"Raw figures: `{json.dumps(figures)}`")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
