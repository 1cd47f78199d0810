"""Train PyTorch Model and Score Image Model, for accuracy.py: of this checkout, or of the one that PYTHONPATH names.

python accuracy_ours.py FOLDER ENDS CELLS       appends a line a cell to FOLDER/results.jsonl, until the time ENDS
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from designer_vision.components.train_pytorch_model import main as train
from designer_vision.training.parameters import Parameters

try:
    from designer_vision.formats.image_directory import read_image_directory
    from designer_vision.formats.model_directory import Model, read_model_directory, untrained, write_model_directory
    from designer_vision.inference.scoring import read_trained_model, score
    from designer_vision.networks import builders
    from designer_vision.networks.architectures import Architecture
    from designer_vision.runtime.errors import TrainingDivergedError
except ModuleNotFoundError:  # the commit before has other rooms
    from designer_vision.architectures import Architecture
    from designer_vision.directories.image_directory import read_image_directory
    from designer_vision.directories.model_directory import Model, read_model_directory, untrained, write_model_directory
    from designer_vision.errors import TrainingDivergedError
    from designer_vision.scoring import read_trained_model, score

    from designer_vision import networks as builders

RESNET = Architecture("resnet18")
BINS = 15


def model_to_start_from(folder: Path, working: Path, source: str) -> Path:
    """A ModelDirectory: untrained, or the network that the peers fine-tune too."""
    path = working / (source or "untrained")
    if path.exists():
        return path
    if not source:
        write_model_directory(path, untrained(RESNET, False))
        return path
    labels = tuple(sorted(place.name for place in (folder / "sets" / source).iterdir()))
    weights = torch.load(folder / "sources" / f"{source}.pt")
    weights["fc.weight"], weights["fc.bias"] = weights["fc.weight"].float(), weights["fc.bias"].float()
    write_model_directory(path, Model(RESNET, weights, labels=tuple(f"{source} {label}" for label in labels)))
    return path


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """As designer_vision.inference.calibration has it, which the commit before has not."""
    confidence = probabilities.max(axis=1)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    of_bins = [np.abs((confidence[bins == one] - right[bins == one]).sum()) for one in range(BINS)]
    return float(sum(of_bins) / len(right))


def on_two_processes(words: list[str]) -> None:
    """The entry on two ranks, as a launcher starts them."""
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 10_000)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "designer_vision.entry.train_pytorch_model", *words],
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    codes = [rank.wait() for rank in ranks]
    assert not any(codes)


def cell_result(cell: dict[str, Any], split: Path, folder: Path, working: Path) -> dict[str, Any]:
    out = working / "trained"
    shutil.rmtree(out, ignore_errors=True)
    start = model_to_start_from(folder, working, cell["source"])
    seven = {
        "epochs": cell["epochs"],
        "batch_size": 16,
        "warmup_step_number": 0,
        "learning_rate": cell["rate"],
        "random_seed": cell["seed"],
        "patience": cell["epochs"],
        "print_frequency": 1000,
    }
    if "2 processes" in cell["program"]:  # as many images a step, and as large a rate, as on one
        seven |= {"batch_size": 8, "learning_rate": cell["rate"] / 2}
        ports = {"untrained_model": start, "training_dataset": split / "train", "validation_dataset": split / "validate"}
        on_two_processes([f"--{name}={value}" for name, value in (ports | seven | {"trained_model": out}).items()])
    else:
        train(start, split / "train", split / "validate", Parameters(**seven), out)
    return measured(out, split / "hold_out")


def measured(trained: Path, hold_out: Path) -> dict[str, Any]:
    """What a trained model is worth on images held out."""
    model = read_trained_model(trained)
    scores = score(
        model,
        read_image_directory(hold_out),
        torch.device("cpu"),
        getattr(torch, os.environ["DESIGNER_VISION_PRECISION"]),
        0,
    )
    names = np.array(scores.index.classes, object)[scores.index.labels]
    right = np.array(model.labels, object)[scores.probabilities.argmax(axis=1)] == names
    temperature = getattr(model, "temperature", 1.0)
    powers = np.power(scores.probabilities, temperature)
    without = powers / powers.sum(axis=1, keepdims=True)
    epochs = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(value for epoch in epochs for name, value in epoch.items() if name.startswith("Seconds"))
    return {
        "top1": float(right.mean()),
        "validation": read_model_directory(trained).training["Top-1 validation accuracy"],
        "seconds": round(seconds, 2),
        "errors": [calibration_error(without, right), calibration_error(scores.probabilities, right)],
    }


def main(folder: Path, ends: float, cells: list[dict[str, Any]]) -> None:
    os.sched_setaffinity(0, {int(os.environ["ON_CPU"])})
    assert builders.__file__.startswith(os.environ["PYTHONPATH"])
    made_by = {"commit": os.environ["COMMIT"], "precision": os.environ["DESIGNER_VISION_PRECISION"]}
    with tempfile.TemporaryDirectory(prefix="working_", dir=folder) as working:
        for given in cells:
            if time.time() > ends:
                return
            try:
                found = cell_result(given["cell"], Path(given["split"]), folder, Path(working))
            except TrainingDivergedError as error:  # it would again; another error ends this process, and is tried again
                found = {"failed": error.message}
            with (folder / "results.jsonl").open("a") as file:
                file.write(json.dumps({"cell": given["cell"], **found, **made_by}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3]))
