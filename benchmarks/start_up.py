"""How long each of the nine components takes on a dozen tiny pictures, which is nearly all start.

    python benchmarks/start_up.py FOLDER RUNS CHECKOUT [CHECKOUT]

A checkout is a folder with our `src` and `component`. The checkouts take turns, so that what else the machine does falls on both;
the first run of each warms the file cache, writes Python's compiled files and is not counted. Prints medians as Markdown, then
the raw figures.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from measure import conditions
from PIL import Image

LABELS, PHOTOS_OF_A_LABEL, SIDE = ("dark", "light"), 6, 32


def make_photos(folder: Path) -> Path:
    """Class folders of tiny PNG files."""
    pictures = np.random.default_rng(1)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(PHOTOS_OF_A_LABEL):
            Image.fromarray(pictures.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(folder / label / f"{number}.png")
    return folder


def steps(folder: Path, checkout: Path) -> dict[str, list[object]]:
    """The components in an order in which each finds what it reads, with their flags."""
    photos, out = folder / "photos", folder / "out"
    return {
        "convert_to_image_directory": ["--input_dataset", photos, "--output_image_directory", out / "images"],
        "split_image_directory": [
            *("--input_image_directory", out / "images", "--fraction", 0.5, "--random_seed", 1),
            *("--output_image_directory1", out / "first", "--output_image_directory2", out / "second"),
        ],
        "init_image_transformation": [
            *defaults(checkout, "init_image_transformation"),
            *("--output_image_transformation", out / "transformation"),
        ],
        "apply_image_transformation": [
            *("--mode", "For training", "--input_image_transformation", out / "transformation"),
            *("--input_image_directory", out / "first", "--output_image_directory", out / "applied"),
        ],
        "resnet": [
            *("--model_name", "resnet18", "--pretrained", "False", "--zero_init_residual", "False"),
            *("--untrained_model", out / "resnet"),
        ],
        "densenet": [
            *("--model_name", "densenet121", "--pretrained", "False", "--memory_efficient", "False"),
            *("--untrained_model", out / "densenet"),
        ],
        "train_pytorch_model": [
            *("--untrained_model", out / "resnet", "--training_dataset", out / "first", "--validation_dataset", out / "second"),
            *("--epochs", 1, "--batch_size", 4, "--warmup_step_number", 0, "--learning_rate", 0.01, "--random_seed", 1),
            *("--patience", 3, "--print_frequency", 10, "--trained_model", out / "trained"),
        ],
        "score_image_model": [
            *defaults(checkout, "score_image_model"),
            *("--trained_model", out / "trained", "--dataset", out / "second", "--scored_dataset", out / "scored"),
        ],
        "evaluate_model": [
            *("--scored_dataset", out / "scored", "--dataset", out / "second", "--evaluation_results", out / "evaluated"),
        ],
    }


def defaults(checkout: Path, stem: str) -> list[object]:
    """The flags of a component's inputs that have a default: an older checkout may not know them all."""
    inputs = yaml.safe_load((checkout / "component" / f"{stem}.yaml").read_text())["inputs"]
    return [word for name, port in inputs.items() if "default" in port for word in (f"--{name}", port["default"])]


def seconds_of_steps(folder: Path, checkout: Path) -> dict[str, float]:
    """All nine once, from nothing; an MLflow store of its own takes the metrics."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    seconds = {}
    for stem, flags in steps(folder, checkout).items():
        words = [sys.executable, "-m", f"designer_vision.entry.{stem}", *map(str, flags)]
        seconds[stem] = seconds_of(words, environment)
    return seconds


def seconds_of(words: list[str], environment: Mapping[str, str]) -> float:
    """From a process's start to its end.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    start = time.monotonic()
    process = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    taken = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{words} ended with {process.returncode}:\n{process.stderr}")
    return taken


def main(folder: Path, runs: int, checkouts: list[Path]) -> None:
    """Measure, and print a row a component and the sum."""
    shutil.rmtree(folder, ignore_errors=True)
    make_photos(folder / "photos")
    rounds: list[list[dict[str, float]]] = [
        [seconds_of_steps(folder, checkout) for checkout in checkouts] for _ in range(runs + 1)
    ]
    figures = {
        stem: [[taken[number][stem] for taken in rounds[1:]] for number in range(len(checkouts))]
        for stem in steps(folder, checkouts[0])
    }
    print("| component | " + " | ".join(f"{name}, s" for name in ("before", "after")[-len(checkouts) :]) + " |")
    print("|---|" + "---|" * len(checkouts))
    for stem, of_checkouts in figures.items():
        cells = [f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in of_checkouts]
        print(f"| {stem} | {' | '.join(cells)} |")
    sums = [sum(statistics.median(of_checkouts[number]) for of_checkouts in figures.values()) for number in range(len(checkouts))]
    print(f"| all nine | {' | '.join(f'{total:.2f}' for total in sums)} |")
    print(conditions(("torch", "torchvision", "mlflow", "pyarrow", "pillow")).rpartition("* A run")[0])
    print(f"Raw figures: `{json.dumps(figures)}`")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), [Path(checkout).absolute() for checkout in sys.argv[3:]])
