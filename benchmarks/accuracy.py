"""How good the trained networks are, beside other programs and beside this one as it was before.

    python benchmarks/accuracy.py FOLDER MINUTES PAGE [short]     # make bench-accuracy: again to go on with what is missing

ResNet-18 from scratch, and fine-tuned from a network that was trained on another set, on real images (image_sets.py). Each
program trains at several learning rates with the first seed, and at further ones where its best is at the edge; the one with the
best mean validation accuracy is the one that it is then measured at. What is held out chooses neither rate nor epoch here; but
choices.py compared its choices on the same images, so there are sets that it never looks at, too. Results go to
FOLDER/results.jsonl as they come, and what stands there is not done again; remove a line to have it anew, or take the lines that
stand at the end of an earlier page to go on from it. PAGE, in Markdown, is written as results come, so that there is one however
it ends. Two runs side by side, each on one core: accuracy does not depend on that, and seconds are compared within one run only.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock

import image_sets
import numpy as np
import torch
from accuracy_page import BEFORE, RATES, Cell, best_rate, beyond, page, read
from measure import hardware, say

from designer_vision.runtime.precision import choose_precision

PEERS = Path(__file__).parent / "peers"
CHECKOUT = Path(__file__).parent.parent
IMAGES = {"fashion": 500, "clipart": 500, "stamps": 400}
UNSEEN_IMAGES = {"fashion_unseen": 500, "clipart_unseen": 500, "objects_unseen": 200}
HOLD_OUT = {"fashion": 2000, "clipart": 800, "stamps": 250, "digits": 597}
HOLD_OUT |= {"fashion_unseen": 2000, "clipart_unseen": 600, "objects_unseen": 100}
PROGRAMS = ("ours", "before", "plain", "timm mild", "timm default")
SOURCES = {"stamps": "clipart", "fashion": "clipart", "clipart": "fashion"}
SOURCES |= {"fashion_unseen": "clipart", "clipart_unseen": "fashion", "objects_unseen": "clipart"}
"""What a network had learned before it is fine-tuned on a set."""
SEEDS = (1, 2, 3)
FURTHER_RATES = 2
"""At most, where the best rate of a program is the lowest or the highest one."""
A_TIME = 9
"""Cells that one process does, after which another begins: what it starts with is shared by so many."""


def first_part(short: bool) -> Iterator[Cell]:
    """Every program at every rate, with one seed."""
    sets = {"fashion": 300, "stamps": 300} if short else IMAGES

    def from_scratch(programs: Sequence[str]) -> Iterator[Cell]:
        for program in programs:
            for name, images in sets.items():
                for rate in RATES[False][: 2 if short else 3]:
                    yield Cell(program, name, images, 5, rate, 1)

    yield from from_scratch(PROGRAMS[:4])
    for program in PROGRAMS[:4]:
        for name in sets:
            for images in (200,) if short else (50, 200):
                for rate in RATES[True][1:] if short else RATES[True]:
                    yield Cell(program, name, images, 5, rate, 1, SOURCES[name])
    yield from from_scratch(() if short else PROGRAMS[4:])


def second_part() -> Iterator[Cell]:
    """Unseen sets, other seeds, epochs and numbers of images; at a rate of 0, in whose place the program's best one comes."""
    for seed in SEEDS:
        for program in PROGRAMS[:4]:
            yield from (Cell(program, name, images, 5, 0, seed) for name, images in UNSEEN_IMAGES.items())
            yield from (Cell(program, name, images, 5, 0, seed, SOURCES[name]) for name in UNSEEN_IMAGES for images in (50, 200))
    for seed in SEEDS[1:]:
        yield from (replace(cell, seed=seed, rate=0) for cell in first_part(False) if cell.rate == RATES[bool(cell.source)][0])
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
    """Where everything is, and until when it runs.

    Attributes:
        folder: what is made once, and the results.
        ends: the time after which nothing is begun.
        target: the page.
        command: that makes it.
        commit: of what is trained as ours.
        precision: the number format that everything is trained in: the one that this machine multiplies fast.
        children: the processes at work, each with a group of its own.
        ended: set where nothing is begun any more.
        writing: held while the page is written.
    """

    folder: Path
    ends: float
    target: Path
    command: str
    commit: str
    precision: str
    children: set[subprocess.Popen[str]] = field(default_factory=set)
    ended: Event = field(default_factory=Event)
    writing: Lock = field(default_factory=Lock)

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    def lines(self) -> list[str]:
        return self.results.read_text().splitlines() if self.results.exists() else []

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        there = {result.cell for result in read(self.lines())}
        return [cell for cell in cells if cell not in there]

    def write_page(self, cells: Sequence[Cell]) -> None:
        with self.writing:
            machine = hardware(("torch", "torchvision", "timm"))
            self.target.write_text(page(read(self.lines()), machine, self.command, len(self.missing(cells))))

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
        left = self.missing(cells)
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

        def on_a_cpu(job: Sequence[Cell]) -> None:
            cpu = cpus.get()
            try:
                while job and time.time() < self.ends and not self.ended.is_set():
                    self._process(job, cpu)
                    job = self.missing(job)[1:]  # the first one ended the process, if any is missing
            finally:
                cpus.put(cpu)
                self.write_page(cells)

        pool = ThreadPoolExecutor(cpus.qsize())
        try:
            list(pool.map(on_a_cpu, jobs))
        except BaseException:
            self.ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(self.children):
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            raise

    def _process(self, cells: Sequence[Cell], cpu: int) -> None:
        """Run cells in one process until its end, or the time's."""
        program = cells[0].program
        is_ours = program.partition(",")[0] in ("ours", "before")
        source = self.folder / "before" / "src" if program == "before" else CHECKOUT / "src"
        given = [{"cell": asdict(cell), "split": str(self.split(cell))} for cell in cells]
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "OMP_NUM_THREADS": "1",
            "ON_CPU": str(cpu),
            "COMMIT": BEFORE if program == "before" else self.commit,
            "DESIGNER_VISION_PRECISION": self.precision,
            "MLFLOW_TRACKING_URI": "sqlite://",
        }
        words = [sys.executable, str(PEERS / ("accuracy_ours.py" if is_ours else "accuracy_peer.py"))]
        words += [str(self.folder), str(self.ends), json.dumps(given)]
        with subprocess.Popen(
            words,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as child:
            self.children.add(child)
            _, said = child.communicate()
            self.children.remove(child)
        if child.returncode and not self.ended.is_set():
            say(f"{program} ended with {child.returncode}: {said[-2000:]}")


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


def commit() -> str:
    """Of this checkout; with "-dirty" where files differ from it."""
    words = [shutil.which("git") or "git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main(folder: Path, minutes: float, target: Path, short: bool) -> None:
    folder = folder.resolve()
    command = f"make bench-accuracy{'-short' if short else ''}"
    precision = str(choose_precision(torch.device("cpu"), os.environ.get("DESIGNER_VISION_PRECISION"))).removeprefix("torch.")
    assert precision in ("bfloat16", "float32"), "what the other programs can be trained in"
    bench = Bench(folder, time.time() + 60 * minutes, target, command, commit(), precision)
    image_sets.make(folder / "sets")
    unpack_before(folder / "before")
    for left_by_a_killed_run in folder.glob("working_*"):
        shutil.rmtree(left_by_a_killed_run)
    cells = list(first_part(short))
    environment = os.environ | {"DESIGNER_VISION_PRECISION": precision}
    try:
        for source in dict.fromkeys(cell.source for cell in cells if cell.source):
            subprocess.run(
                [sys.executable, str(PEERS / "accuracy_peer.py"), str(folder), "source", source], env=environment, check=True
            )
        bench.do(cells)
        if not short:
            for _ in range(FURTHER_RATES):
                cells += beyond(read(bench.lines()), cells)
                bench.do(cells)
            found = read(bench.lines())
            cells += [replace(cell, rate=rate) for cell in second_part() if (rate := best_rate(found, cell)) is not None]
            bench.do(cells)
    finally:
        bench.write_page(cells)
        missing = len(bench.missing(cells))
        say(f"{target}: {missing} runs are missing" if missing else f"{target}: complete")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), "short" in sys.argv[4:])
