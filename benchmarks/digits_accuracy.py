"""Accuracy of the demo on held-out digits, over seeds, in float32 and bfloat16.

    python benchmarks/digits_accuracy.py FOLDER [SEEDS]

Runs pipelines/train_and_score.yaml with the local runner, one run a seed and precision; FOLDER keeps what is finished,
so that the same command goes on where it was stopped. Prints a Markdown table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PRECISIONS = ("float32", "bfloat16")
PIPELINE = Path(__file__).parent.parent / "pipelines" / "train_and_score.yaml"


def top1(folder: Path, seed: int, precision: str) -> float:
    """The percentage on the last line of one run."""
    command = [str(Path(sys.executable).parent / "designer-vision"), "run", str(PIPELINE)]
    command += ["--input", f"random_seed={seed}", "--output_dir", str(folder / f"{precision}_seed_{seed}")]
    environment = os.environ | {"DESIGNER_VISION_PRECISION": precision}
    lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    return float(lines[-1].removeprefix("top-1 ").removesuffix(" %"))


def main(folder: Path, seeds: int) -> None:
    print("| precision | " + " | ".join(f"seed {seed}" for seed in range(1, seeds + 1)) + " | mean |")
    print("|---" * (seeds + 2) + "|", flush=True)
    for precision in PRECISIONS:
        results = [top1(folder, seed, precision) for seed in range(1, seeds + 1)]
        cells = " | ".join(f"{result:.1f}" for result in results)
        print(f"| {precision} | {cells} | {sum(results) / seeds:.2f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
