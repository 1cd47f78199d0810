"""Which learning rate networks with layer norm want, and what more processes should make of it.

    python benchmarks/adamw.py FOLDER MINUTES PAGE

Train PyTorch Model gives AdamW a tenth of `learning_rate`, times the number of processes, as SGD gets the whole of it. Here the
component itself trains at several rates, from scratch and fine-tuned from another set (image_sets.py), with a batch of 16, of
128 (what eight processes make together), and by SGD instead. Two runs side by side, one core each. Results go to
FOLDER/results.jsonl as they come, and what stands there is not done again; PAGE is Markdown.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import image_sets
from accuracy import Bench
from accuracy_page import Cell as Images
from measure import folded, hardware, say

sys.path.insert(0, str(Path(__file__).parent / "peers"))

SETS = ("clipart", "stamps")
SOURCES = {"clipart": "clipart_unseen", "stamps": "clipart"}
NETWORKS = ("convnext_tiny", "swin_v2_t")
SEEDS, EPOCHS, BATCH, MANY = (1, 2), 5, 16, 128
IMAGES = {False: 400, True: 200}
"""To train on: from scratch, and fine-tuned."""
RATES = {False: (0.001, 0.003, 0.01, 0.03), True: (0.0003, 0.001, 0.003, 0.01)}
MANY_RATES = {False: (0.003, 0.01, 0.03), True: (0.001, 0.003, 0.01)}
SGD_RATES = {False: (0.01, 0.03, 0.1), True: (0.003, 0.01, 0.03)}
SOURCE_IMAGES, SOURCE_EPOCHS, SOURCE_RATE = 560, 8, 0.003


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        network: that is trained.
        set: of images.
        is_tuned: whether it has learned another set before.
        batch: images a step.
        rate: learning_rate; AdamW's is a tenth of it.
        optimizer: AdamW or SGD.
        seed: of the images that are drawn and of the training.
    """

    network: str
    set: str
    is_tuned: bool
    batch: int
    rate: float
    optimizer: str
    seed: int

    @property
    def row(self) -> tuple[str, bool, str, int]:
        """What is compared at several rates."""
        return (self.network, self.is_tuned, self.optimizer, self.batch)


def plan(network: str) -> Iterator[Cell]:
    """All trainings of a network, the most telling first."""
    kinds = (("AdamW", BATCH, RATES), ("AdamW", MANY, MANY_RATES), ("SGD", BATCH, SGD_RATES))
    for seed in SEEDS:
        for optimizer, batch, rates in kinds if network == NETWORKS[0] else kinds[:1]:
            for is_tuned in (True, False):
                for rate in rates[is_tuned]:
                    yield from (Cell(network, name, is_tuned, batch, rate, optimizer, seed) for name in SETS)


def train(start: Path, split: Path, cell: Cell, epochs: int, out: Path) -> None:
    """By the component, with another optimizer where that is asked."""
    from designer_vision.components.train_pytorch_model import main as train_pytorch_model
    from designer_vision.training import optimizer
    from designer_vision.training.parameters import Parameters

    kept = optimizer.has_layer_norm
    optimizer.has_layer_norm = lambda network: cell.optimizer == "AdamW"
    try:
        parameters = Parameters(
            epochs=epochs, batch_size=cell.batch, warmup_step_number=0, learning_rate=cell.rate, random_seed=cell.seed,
            patience=epochs, print_frequency=1000,
        )  # fmt: skip
        train_pytorch_model(start, split / "train", split / "validate", parameters, out)
    finally:
        optimizer.has_layer_norm = kept


def result(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Train, and measure on images held out."""
    from accuracy_ours import measured

    from designer_vision.runtime.errors import TrainingDivergedError

    split = bench.split(Images("", cell.set, IMAGES[cell.is_tuned], EPOCHS, 0, cell.seed))
    start = bench.folder / "starts" / (cell.network + (f"_{SOURCES[cell.set]}" if cell.is_tuned else ""))
    with tempfile.TemporaryDirectory(prefix="working_", dir=bench.folder) as working:
        try:
            train(start, split, cell, EPOCHS, Path(working) / "trained")
        except TrainingDivergedError as error:
            return {"top1": 0.0, "failed": error.message}
        return measured(Path(working) / "trained", split / "hold_out")


def make_start(bench: Bench, network: str, source: str) -> None:
    """A network that has learned nothing, or a set."""
    from designer_vision.formats.model_directory import untrained, write_model_directory
    from designer_vision.networks.architectures import Architecture

    folder = bench.folder / "starts" / (network + (f"_{source}" if source else ""))
    if folder.exists():
        return
    if not source:
        write_model_directory(folder, untrained(Architecture(network), False))
        return
    split = bench.split(Images("", source, SOURCE_IMAGES, SOURCE_EPOCHS, 0, 0))
    begun = folder.with_suffix(".unfinished")
    shutil.rmtree(begun, ignore_errors=True)
    cell = Cell(network, source, False, BATCH, SOURCE_RATE, "AdamW", 0)
    train(bench.folder / "starts" / network, split, cell, SOURCE_EPOCHS, begun)
    begun.rename(folder)


def bench_in(folder: Path, ends: float = 0) -> Bench:
    return Bench(folder, ends, Path(), "", "", os.environ["DESIGNER_VISION_PRECISION"])


def do(job: Cell | tuple[str, str], folder: Path, ends: float) -> None:
    """One training, on a core of its own."""
    import torch

    torch.set_num_threads(1)
    bench = bench_in(folder, ends)
    if time.time() > bench.ends:
        return
    if isinstance(job, tuple):
        make_start(bench, *job)
    else:
        line = json.dumps({"cell": asdict(job), **result(bench, job)})
        with bench.results.open("a") as file:
            file.write(line + "\n")


def main(folder: Path, minutes: float, target: Path) -> None:
    import torch

    from designer_vision.runtime.precision import choose_precision

    precision = str(choose_precision(torch.device("cpu"))).removeprefix("torch.")
    os.environ |= {
        "DESIGNER_VISION_PRECISION": precision,
        "DESIGNER_VISION_DATA_WORKERS": "0",
        "MLFLOW_TRACKING_URI": "sqlite://",
    }
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    bench = bench_in(folder.resolve())
    image_sets.make(bench.folder / "sets")
    ends = time.time() + 60 * minutes
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=8) as pool:
        for network in NETWORKS:
            left = missing(bench, network)
            for cell in left:
                bench.split(Images("", cell.set, IMAGES[cell.is_tuned], EPOCHS, 0, cell.seed))
            for jobs in ([(network, "")], [(network, source) for source in SOURCES.values()], left):
                for _ in pool.imap(partial(do, folder=bench.folder, ends=ends), jobs):
                    pass
    target.write_text(page([json.loads(line) for line in bench.lines()]))
    say(f"{sum(len(missing(bench, network)) for network in NETWORKS)} runs are missing")


def missing(bench: Bench, network: str) -> list[Cell]:
    there = {Cell(**json.loads(line)["cell"]) for line in bench.lines()}
    return [cell for cell in plan(network) if cell not in there]


def page(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    found = {Cell(**line["cell"]): 100 * line["top1"] for line in lines}
    rows = []
    for row in dict.fromkeys(cell.row for network in NETWORKS for cell in plan(network)):
        network, is_tuned, optimizer, batch = row
        by_rate: dict[float, list[float]] = {}
        for cell, top1 in found.items():
            if cell.row == row:
                by_rate.setdefault(cell.rate, []).append(top1)
        if by_rate:
            best = max(statistics.mean(values) for values in by_rate.values())
            cells = [
                f"{rate:g}: {'**' if (mean := statistics.mean(values)) == best else ''}{mean:.1f}{'**' if mean == best else ''}"
                for rate, values in sorted(by_rate.items())
            ]
            how = f"fine-tuned, {IMAGES[True]} images" if is_tuned else f"from scratch, {IMAGES[False]} images"
            runs = "" if len(set(map(len, by_rate.values()))) > 1 else f" ({len(next(iter(by_rate.values())))} runs a rate)"
            rows.append(f"| {network} | {how} | {optimizer} | {batch} | {' · '.join(cells)}{runs} |")
    table = "\n".join(rows)
    return f"""# Which learning rate networks with layer norm want

Top-1 in percent on images held out, by `learning_rate`; AdamW's own rate is a tenth of it. Means over {len(SETS)} sets
({", ".join(SETS)}) and their seeds, {EPOCHS} epochs. What a network is fine-tuned from are its own weights after
{SOURCE_EPOCHS} epochs on {SOURCE_IMAGES} images of another set. No rate was chosen on what is held out: all are shown.

| network | | optimizer | batch | top-1 by `learning_rate` |
|---|---|---|---|---|
{table}

* Command: `python benchmarks/adamw.py FOLDER MINUTES PAGE`
{hardware(("torch", "torchvision"))}
{folded([json.dumps(line) for line in lines])}"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
