"""How long a person with a folder of photos waits: for the first line, a refusal, the first training step; and Convert's speed.

    python benchmarks/own_photos.py PHOTOS FLAT [OTHER_CHECKOUT] > benchmarks/DATE_own_photos.md

PHOTOS is any tree of class folders. FLAT has class folders of images only, which Convert to Image Directory is timed on, in turn
with the code of another checkout where one is given. Each figure is the median of RUNS, with the smallest and the largest.
"""

from __future__ import annotations

import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUNS = 5
ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).parent / "designer-vision"


def line_after(words: list[str], begins: str) -> float:
    """Seconds until a command prints a line that begins like this; it is stopped then."""
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(begins):
                seconds = time.perf_counter() - start
                process.send_signal(signal.SIGINT)
                process.stdout.read()
                return seconds
    raise SystemExit(f"{words} never printed {begins!r}")


def first_step_of(photos: Path) -> float:
    """Seconds until the log of the training has its first iteration."""
    with tempfile.TemporaryDirectory() as folder:
        words = [str(PROGRAM), "train", str(photos), "--from", "scratch", "--input", "train.print_frequency=1"]
        start = time.perf_counter()
        with subprocess.Popen(
            [*words, "--output_dir", f"{folder}/run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as run:
            log = Path(folder, "run/train/user_logs/std_log.txt")
            while not (log.exists() and " iteration " in log.read_text()):
                assert run.poll() is None
                time.sleep(0.05)
            seconds = time.perf_counter() - start
            run.send_signal(signal.SIGINT)
        return seconds


def converted(flat: Path, checkout: Path) -> float:
    """Seconds of Convert to Image Directory as a process."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--input_dataset", str(flat), "--output_image_directory", f"{folder}/out"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "designer_vision.entry.convert_to_image_directory", *words],
            env=os.environ | {"PYTHONPATH": str(checkout / "src")},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def rows(measures: dict[str, Callable[[], float]]) -> None:
    """A line for each measure; they take turns."""
    seconds = [[measure() for measure in measures.values()] for _ in range(RUNS)]
    for what, column in zip(measures, zip(*seconds, strict=True), strict=True):
        print(f"| {what} | {statistics.median(column):.2f} s | {min(column):.2f} to {max(column):.2f} |", flush=True)


def main(photos: Path, flat: Path, other: Path | None) -> None:
    run = [str(PROGRAM), "run", str(ROOT / "pipelines" / "photos.yaml"), "--input"]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {RUNS} runs"
    print(f"# How long a person with a folder of photos waits\n\n{machine}.\n")
    print("| what | median | smallest to largest |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        train = [str(PROGRAM), "train", str(photos), "--from", "scratch", "--output_dir", f"{folder}/run"]
        too_large = [*run, f"images={photos}", "--input", "image_size=1000000"]
        rows({"`train`: first useful line": lambda: line_after(train, "photos")})
        rows({"`run`: a parameter out of its range is refused": lambda: line_after(too_large, "Error")})
        rows({"`run`: a folder without images is refused": lambda: line_after([*run, f"images={folder}"], "Error")})
    rows({"`train`: first training step": lambda: first_step_of(photos)})
    convert = {"Convert to Image Directory, class folders of images only": lambda: converted(flat, ROOT)}
    if other:
        convert["the same, the other checkout"] = lambda: converted(flat, other)
    rows(convert)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
