"""What data at a distance costs: each component with its images on a local disk, and on mounts that make every file wait.

    python benchmarks/slow_mount.py FOLDER ROUNDS > benchmarks/DATE_slow_mount.md

FOLDER keeps what is prepared: 600 photos, the demo's 1,797 digits, converted, at 64 pixels, and networks. Every run is the
component's own command, on a mount of its own (`slow_folder.py`), of which the kernel knows nothing yet; outputs go to the local
disk. The program that serves the mount takes its share of the same cores.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml
from measure import Run, conditions, prepare, run, say

HERE = Path(__file__).parent
ENTRY = "designer_vision.entry"
MOUNTS = {"local disk": None, "0 + 0 ms": (0, 0), "10 + 20 ms": (10, 20), "40 + 80 ms": (40, 80)}
"""Waits for a file's attributes and to open it."""
WORKERS = 2
PHOTOS, SHARE_TRAINED_ON = 600, 0.4
FEW = 240
"""Images for torch's DataLoader on a mount: it would take minutes for all."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """One command: what it reads, and how its figures are told from what it prints."""

    name: str
    source: str
    words: Callable[[Path, Path], list[object]]
    figures: Callable[[Run, Path], Figures]


def component(name: str, **flags: object) -> list[object]:
    """The command of a component, with the defaults of its YAML for what is not given."""
    declared = yaml.safe_load((HERE.parent / f"component/{name}.yaml").read_text())["inputs"]
    given = {flag: one["default"] for flag, one in declared.items() if "default" in one} | flags
    return [sys.executable, "-m", f"{ENTRY}.{name}", *(word for flag, value in given.items() for word in (f"--{flag}", value))]


def speed(title: str) -> Callable[[Run, Path], Figures]:
    """Images/s, from the last line that has them."""

    def figures(done: Run, output: Path) -> Figures:
        found = [match[1] for _, line in done.lines if (match := re.search(r"([\d.]+) images/s$", line))]
        return {title: float(found[-1])}

    return figures


def of_training(done: Run, output: Path) -> Figures:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    first = next(seconds for seconds, line in done.lines if " iteration " in line)
    return {
        "Train, the same, epoch 1, images/s": lines[0]["Train images per second and process"],
        "Train, epoch 2, images/s": lines[1]["Train images per second and process"],
        "Train, seconds to the first step": first,
        "Train, seconds in all": done.seconds,
    }


def commands(folder: Path) -> list[Measured]:
    def train(source: Path, output: Path) -> list[object]:
        return component(
            "train_pytorch_model",
            untrained_model=folder / "network",
            training_dataset=source / "training",
            validation_dataset=source / "validation",
            epochs=2,
            batch_size=32,
            learning_rate=0.02,
            print_frequency=1,
            trained_model=output,
        )

    def apply(source: Path, output: Path) -> list[object]:
        return component(
            "apply_image_transformation",
            mode="For inference",
            input_image_transformation=folder / "transformation",
            input_image_directory=source,
            output_image_directory=output,
        )

    def batches(name: Path) -> Callable[[Path, Path], list[object]]:
        return lambda source, output: [sys.executable, name, source / "image", WORKERS, FEW]

    def convert(source: Path, output: Path) -> list[object]:
        return component("convert_to_image_directory", input_dataset=source, output_image_directory=output)

    def score(source: Path, output: Path) -> list[object]:
        return component(
            "score_image_model", trained_model=folder / "trained", dataset=source, threshold=0, scored_dataset=output
        )

    loaders = f"{WORKERS} workers and no network, images/s"
    return [
        Measured("convert", "digits", convert, speed("Convert, digits of 8 x 8 pixels, images/s")),
        Measured("convert photos", "photos", convert, speed("Convert, photos of 500 x 375 pixels, images/s")),
        Measured("apply", "converted", apply, speed("Apply, digits, images/s")),
        Measured("apply photos", "converted_photos", apply, speed("Apply, photos, images/s")),
        Measured("score", "images", score, speed("Score, digits at 64 x 64 pixels, images/s")),
        Measured("train", "sets", train, of_training),
        Measured("ours", "images", batches(HERE / "peers/our_loader.py"), speed(f"our loader, {loaders}")),
        Measured("torch's", "images", batches(HERE / "peers/data_loader.py"), speed(f"torch's DataLoader, {loaders}")),
    ]


def make_inputs(folder: Path) -> None:
    """Write, once, what the commands read."""
    if (folder / "trained/_meta.yaml").exists():
        return
    prepare(sys.executable, HERE / "photos.py", folder / "photos", PHOTOS)
    photos = folder / "converted_photos"
    prepare(*component("convert_to_image_directory", input_dataset=folder / "photos", output_image_directory=photos))
    prepare(sys.executable, HERE.parent / "pipelines/digits.py", folder / "digits")
    prepare(
        *component("convert_to_image_directory", input_dataset=folder / "digits", output_image_directory=folder / "converted")
    )
    prepare(
        *component(
            "init_image_transformation",
            size=64,
            center_crop=True,
            crop_size=64,
            output_image_transformation=folder / "transformation",
        )
    )
    prepare(
        *component(
            "apply_image_transformation",
            mode="For inference",
            input_image_transformation=folder / "transformation",
            input_image_directory=folder / "converted",
            output_image_directory=folder / "images",
        )
    )
    split(folder / "images", SHARE_TRAINED_ON, folder / "some", folder / "others")
    split(folder / "some", 0.9, folder / "sets/training", folder / "sets/validation")
    prepare(*component("resnet", model_name="resnet18", pretrained=False, untrained_model=folder / "network"))
    prepare(
        *component(
            "train_pytorch_model",
            untrained_model=folder / "network",
            training_dataset=folder / "sets/training",
            validation_dataset=folder / "sets/validation",
            epochs=1,
            batch_size=32,
            learning_rate=0.02,
            trained_model=folder / "trained",
        )
    )


def split(images: Path, fraction: float, one: Path, other: Path) -> None:
    flags = {"input_image_directory": images, "fraction": fraction}
    prepare(*component("split_image_directory", **flags, output_image_directory1=one, output_image_directory2=other))


@contextmanager
def mounted(source: Path, waits: tuple[int, int] | None) -> Iterator[Path]:
    """The folder itself, or a new mount of it."""
    if waits is None:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--attribute_ms", str(waits[0]), "--open_ms", str(waits[1])]
        server = subprocess.Popen([sys.executable, HERE / "slow_folder.py", source, folder, *flags])
        while not Path(folder).is_mount():
            if server.poll() is not None:
                raise SystemExit(1)  # it said why
            time.sleep(0.05)
        try:
            yield Path(folder)
        finally:
            server.terminate()
            server.wait()


def measured(command: Measured, source: Path, waits: tuple[int, int] | None) -> tuple[Figures, float]:
    """The figures of one run, and its peak memory in MB."""
    with mounted(source, waits) as place, tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "output"
        done = run(command.words(place, output), [{"MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}], [output], tries=1)
        return command.figures(done, output), done.peak_mb


def main() -> None:
    folder, rounds = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    only = set(sys.argv[3:])  # names of commands and of mounts
    mounts = {title: waits for title, waits in MOUNTS.items() if title in only} or MOUNTS
    only -= mounts.keys()
    folder.mkdir(parents=True, exist_ok=True)
    make_inputs(folder)
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for command in commands(folder):
            if only and command.name not in only:
                continue
            for title, waits in mounts.items():
                figures, peak = measured(command, folder / command.source, waits)
                for name, figure in (*figures.items(), (f"{command.name}: peak memory, MB", peak)):
                    found.setdefault(name, {}).setdefault(title, []).append(figure)
                say(f"round {number + 1}, {command.name}, {title}: {figures}, {peak:.0f} MB")
    print(f"# Data at a distance, {date.today()}\n\n`python benchmarks/slow_mount.py FOLDER {rounds}`: medians of {rounds}.\n")
    print(table(found))
    print(f"\n{conditions(['torch', 'torchvision', 'pillow'])}\nEvery run:\n")
    for name, cells in found.items():
        print(f"* {name}: " + "; ".join(f"{title} {', '.join(f'{one:.1f}' for one in cell)}" for title, cell in cells.items()))


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """A line each, with the ratio to the local disk where more is better."""
    titles = next(iter(found.values()))
    lines = [f"| what | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, cells in found.items():
        medians = {title: statistics.median(cell) for title, cell in cells.items()}
        local = medians["local disk"]
        words = [
            f"{median:,.1f}" + (f" ({median / local:.2f})" if "images/s" in name and title != "local disk" else "")
            for title, median in medians.items()
        ]
        lines.append(f"| {name} | {' | '.join(words)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
