"""How good the trained networks are, beside other programs and beside this one as it was before.

    python benchmarks/accuracy.py FOLDER MINUTES [short] > benchmarks/DATE_accuracy.md

ResNet-18 from scratch, and fine-tuned from a network that was trained on another set, on real images (image_sets.py). Each
program trains at several learning rates with the first seed; the one with the best mean validation accuracy is the one that it is
then measured at. What is held out chooses nothing. FOLDER keeps what is finished, so that the same command goes on where it was
stopped; the page is there however it ends. Two runs side by side, each on one core: accuracy does not depend on that, and seconds
are compared within one run only.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import image_sets
import numpy as np
from accuracy_page import Cell, Result, best_rate, page
from measure import hardware, say

PEERS = Path(__file__).parent / "peers"
CHECKOUT = Path(__file__).parent.parent
BEFORE = "84041d1"
"""The commit before these choices were made."""
IMAGES = {"fashion": 500, "clipart": 500, "stamps": 400}
HOLD_OUT = {"fashion": 2000, "clipart": 800, "stamps": 250, "digits": 597}
PROGRAMS = ("ours", "before", "plain", "timm mild", "timm default")
RATES = {"scratch": (0.01, 0.03, 0.1), "tuned": (0.003, 0.01, 0.03)}
SOURCES = {"stamps": "clipart", "fashion": "clipart", "clipart": "fashion"}
"""What a network had learned before it is fine-tuned on a set."""
SEEDS = (1, 2, 3)
A_TIME = 9
"""Cells that one process does, after which another begins: what it starts with is shared by so many."""


def first_part(short: bool) -> Iterator[Cell]:
    """Every program at every rate, with one seed."""
    sets = {"fashion": 300, "stamps": 300} if short else IMAGES

    def from_scratch(programs: Sequence[str]) -> Iterator[Cell]:
        for program in programs:
            for name, images in sets.items():
                for rate in RATES["scratch"][: 2 if short else 3]:
                    yield Cell(program, name, images, 5, rate, 1)

    yield from from_scratch(PROGRAMS[:4])
    for program in PROGRAMS[:4]:
        for name in sets:
            for images in (200,) if short else (50, 200):
                for rate in RATES["tuned"][1:] if short else RATES["tuned"]:
                    yield Cell(program, name, images, 5, rate, 1, SOURCES[name])
    yield from from_scratch(() if short else PROGRAMS[4:])


def second_part() -> Iterator[Cell]:
    """The other seeds, epochs and numbers of images; at a rate of 0, in whose place the program's best one comes."""
    for seed in SEEDS[1:]:
        yield from (
            replace(cell, seed=seed, rate=0)
            for cell in first_part(False)
            if cell.rate in (RATES["scratch"][0], RATES["tuned"][0])
        )
    for seed in SEEDS:
        for program in PROGRAMS[:4]:
            yield from (Cell(program, name, images, 8, 0, seed) for name, images in IMAGES.items())
    for seed in SEEDS:
        yield from (Cell("ours, 2 processes", name, images, 5, 0, seed) for name, images in IMAGES.items())
        yield from (Cell(program, "digits", 1000, 5, 0, seed) for program in PROGRAMS[:4])
    for seed in SEEDS:
        for images in (50, 200, 1000):
            yield from (Cell(program, name, images, 5, 0, seed) for program in PROGRAMS[:4] for name in ("fashion", "clipart"))
        yield from (
            Cell(program, name, 1000, 5, 0, seed, SOURCES[name]) for program in PROGRAMS[:4] for name in ("fashion", "clipart")
        )


@dataclass(frozen=True)
class Bench:
    """Where everything is, and until when it runs."""

    folder: Path
    ends: float

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    def read(self) -> list[Result]:
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        return [
            Result(Cell(**line["cell"]), line["top1"], line["validation"], line["seconds"], line.get("errors"))
            for line in map(json.loads, lines)
        ]

    def split(self, cell: Cell) -> Path:
        """The images of a cell as folders train, validate and hold_out of class folders; hard links."""
        folder = self.folder / "splits" / f"{cell.set}_{cell.images}_{cell.seed}"
        if folder.exists():
            return folder
        files = sorted((self.folder / "sets" / cell.set).glob("*/*.png"))
        order = np.random.default_rng(1000 + cell.seed).permutation(len(files))
        held_out, rest = order[: HOLD_OUT[cell.set]], order[HOLD_OUT[cell.set] :]
        names = [files[row].parent.name for row in rest]
        _, first = np.unique(names, return_index=True)  # one of each class at least is trained on
        rest = np.concatenate([rest[np.sort(first)], np.delete(rest, first)])
        validated = max(30, cell.images // 5)
        parts = {"train": rest[: cell.images], "validate": rest[cell.images : cell.images + validated], "hold_out": held_out}
        begun = folder.with_suffix(".unfinished")
        shutil.rmtree(begun, ignore_errors=True)
        for part, rows in parts.items():
            for path in (files[row] for row in rows):
                (begun / part / path.parent.name).mkdir(parents=True, exist_ok=True)
                os.link(path, begun / part / path.parent.name / path.name)
        begun.rename(folder)
        return folder

    def do(self, cells: Sequence[Cell]) -> None:
        """Run what is not there yet, two processes at a time, until it is over or the time is."""
        there = {result.cell for result in self.read()}
        left = [cell for cell in cells if cell not in there]
        for cell in left:
            self.split(cell)
        jobs = [
            some[start : start + A_TIME]
            for program in dict.fromkeys(cell.program for cell in left)
            for some in ([cell for cell in left if cell.program == program],)
            for start in range(0, len(some), A_TIME)
        ]
        jobs.sort(key=lambda job: left.index(job[0]))
        cpus: SimpleQueue[int] = SimpleQueue()
        for cpu in sorted(os.sched_getaffinity(0))[:2]:
            cpus.put(cpu)

        def on_a_cpu(cells: Sequence[Cell]) -> None:
            cpu = cpus.get()
            try:
                self._process(cells, cpu)
            finally:
                cpus.put(cpu)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(on_a_cpu, jobs))

    def _process(self, cells: Sequence[Cell], cpu: int) -> None:
        if time.time() > self.ends:
            return
        program = cells[0].program
        is_ours = program.partition(",")[0] in ("ours", "before")
        source = self.folder / "before" / "src" if program == "before" else CHECKOUT / "src"
        given = [{"cell": asdict(cell), "split": str(self.split(cell))} for cell in cells]
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "OMP_NUM_THREADS": "1",
            "ON_CPU": str(cpu),
            "MLFLOW_TRACKING_URI": "sqlite://",
        }
        words = [sys.executable, str(PEERS / ("accuracy_ours.py" if is_ours else "accuracy_peer.py"))]
        words += [str(self.folder), str(self.ends), json.dumps(given)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode:
            say(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")


def unpack_before(folder: Path) -> None:
    """The sources of the commit before."""
    if folder.exists():
        return
    archive = subprocess.run(
        [shutil.which("git") or "git", "-C", str(CHECKOUT), "archive", BEFORE, "src"], capture_output=True, check=True
    ).stdout
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def main(folder: Path, minutes: float, short: bool) -> None:
    bench = Bench(folder.resolve(), time.time() + 60 * minutes)
    image_sets.make(bench.folder / "sets")
    unpack_before(bench.folder / "before")
    for source in dict.fromkeys(SOURCES.values()):
        subprocess.run([sys.executable, str(PEERS / "accuracy_peer.py"), str(bench.folder), "source", source], check=True)
    first = list(first_part(short))
    bench.do(first)
    if not short:
        found = bench.read()
        second = [replace(cell, rate=rate) for cell in second_part() if (rate := best_rate(found, cell)) is not None]
        bench.do(second)
    print(page(bench.read(), hardware(("torch", "torchvision", "timm"))))
    say(f"{len(bench.read())} runs, {statistics.fmean(result.seconds for result in bench.read()):.1f} s each")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), "short" in sys.argv[3:])
