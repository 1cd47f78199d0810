"""How long the reports take at the end of a training and of an evaluation.

    python benchmarks/reports.py FOLDER

Two sizes: 10 classes with 1,000 validation images, and 1,000 classes with 50,000 as in ImageNet; photos of about 500 x 375,
a fifth of them predicted wrong. Five runs each in a process of its own, with all that is imported for it. Prints Markdown.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from measure import conditions, summary
from photos import write_photos

SIZES = {"10 classes, 1,000 images": (10, 1000), "1,000 classes, 50,000 images": (1000, 50_000)}
RUNS, EPOCHS, PHOTOS = 5, 50, 64


def measure(folder: Path, classes: int, count: int) -> None:
    """Print the seconds of a training's report."""
    start = time.perf_counter()
    import numpy as np

    from designer_vision.formats.image_directory import read_image_directory

    before = time.perf_counter()
    from designer_vision.inference.calibration import Calibration, reliability, thresholds
    from designer_vision.inference.evaluation import Predictions
    from designer_vision.report.mistakes import Photos
    from designer_vision.report.training_report import TrainingRun, write_training_report
    from designer_vision.training.metrics import Averages
    from designer_vision.training.parameters import Parameters
    from designer_vision.training.results import EpochResult, TimeBreakdown, TrainingResult

    photos = read_image_directory(folder / "photos")
    labels = np.arange(count, dtype=np.int32) % classes
    names = tuple(f"class {number:04}" for number in range(classes))
    index = replace(photos.subset(np.arange(count) % len(photos)), classes=names, labels=labels)
    wrong = np.random.default_rng(1).random(count) < 0.2
    predicted = np.where(wrong, (labels * 7 + 3) % classes, labels)
    probability = np.linspace(0.1, 1, count)
    predictions = Predictions(names, labels.astype(np.int64), predicted.astype(np.int64), probability, np.arange(count))
    reliable = reliability(probability, ~wrong)
    calibration = Calibration(1.0, "", reliable, reliable, thresholds(probability, ~wrong))
    averages = Averages(0.5, 0.8, 0.95, count)
    history = tuple(EpochResult(n, averages, averages, 100.0, 0.1 / n, TimeBreakdown(1, 9, 1, 0.1)) for n in range(1, EPOCHS + 1))
    seen = (Photos(index, range(count)), predictions, calibration)
    seven = Parameters(EPOCHS, 16, 0, 0.01, 1, 3, 10)
    run = TrainingRun(TrainingResult(history[-1], {}, history), index, index, *seen, {"network": "resnet50"}, [], 1, seven)
    out = folder / f"out_{classes}_{time.time_ns()}"
    out.mkdir()
    made = time.perf_counter()
    paths = write_training_report(out, run)
    print(time.perf_counter() - made, made - before, before - start, sum(path.stat().st_size for path in paths) / 1e6)


def main(folder: Path) -> None:
    if not (folder / "photos").exists():
        write_photos(folder / "photos", PHOTOS)
    print("# How long a training's report takes\n")
    print("| validation images | seconds | megabytes written | share of a training of 10 minutes |")
    print("|---|---|---|---|")
    for name, (classes, count) in SIZES.items():
        command = [sys.executable, __file__, str(folder), str(classes), str(count)]
        runs = [[float(word) for word in subprocess.check_output(command, text=True).split()] for _ in range(RUNS)]
        seconds = [made + imported for made, imported, *_ in runs]
        print(f"| {name} | {summary(seconds)} | {runs[0][3]:.1f} | {statistics.median(seconds) / 600:.1%} |")
    print(
        f"\nMedians of {RUNS} processes, with minimum and maximum; {EPOCHS} epochs; with the import of what draws and writes.\n"
    )
    print("* Command: `python benchmarks/reports.py FOLDER`")
    print(conditions(("torch", "matplotlib", "pillow")))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]))
