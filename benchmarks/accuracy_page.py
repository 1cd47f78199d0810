"""The page of accuracy.py: pure functions from results to Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

OURS = "ours"
COMPARED = ("before", "plain", "timm mild", "timm default", "ours, 2 processes")


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        program: that trains.
        set: of images.
        images: to train on.
        epochs: of the training.
        rate: learning_rate.
        seed: of the images that are drawn and of the training.
        source: the set that the network had learned before; else empty.
    """

    program: str
    set: str
    images: int
    epochs: int
    rate: float
    seed: int
    source: str = ""

    @property
    def kind(self) -> str:
        """What is measured: the column it belongs to."""
        if self.source:
            return f"fine-tuned, {self.images} images"
        if self.set == "digits":
            return "digits"
        usual = 400 <= self.images <= 500
        return f"from scratch, {self.epochs} epochs" if usual else f"from scratch, {self.images} images"

    @property
    def task(self) -> tuple[str, int, int, int, str]:
        """What another program can do as well, at a rate of its own."""
        return self.set, self.images, self.epochs, self.seed, self.source


@dataclass(frozen=True)
class Result:
    """What came of one training.

    Attributes:
        cell: which.
        top1: on the images held out, of the epoch that is kept.
        validation: top-1 of that epoch on the images that chose it.
        seconds: of its epochs.
        errors: expected calibration error on the images held out, without a temperature and as scored; only ours has them.
    """

    cell: Cell
    top1: float
    validation: float
    seconds: float
    errors: Sequence[float] | None = None


def best_rate(results: Sequence[Result], cell: Cell) -> float | None:
    """The learning rate of a cell's program, from scratch or fine-tuned, with the best mean validation accuracy at first.

    Only tasks count that the program did at every rate. None where there is none yet.
    """
    program = cell.program.partition(",")[0]
    found: dict[float, dict[tuple[object, ...], float]] = {}
    for result in results:
        one = result.cell
        is_like = one.program == program and bool(one.source) == bool(cell.source) and one.seed == 1 and one.set != "digits"
        if is_like and one.kind in FIRST_KINDS:
            found.setdefault(one.rate, {})[one.task] = result.validation
    if not found:
        return None
    tasks = set.intersection(*(set(of_rate) for of_rate in found.values()))
    if not tasks:
        return None
    return max(sorted(found), key=lambda rate: statistics.fmean(found[rate][task] for task in tasks))


FIRST_KINDS = {"from scratch, 5 epochs", "from scratch, 300 images", "fine-tuned, 50 images", "fine-tuned, 200 images"}


def at_best_rate(results: Sequence[Result]) -> list[Result]:
    """The results of each program at its own best rate."""
    return [result for result in results if result.cell.rate == best_rate(results, result.cell)]


def difference(ours: Sequence[Result], others: Sequence[Result]) -> tuple[float, float, int] | None:
    """Ours minus others' in points, paired by task: mean, standard error, and number of pairs; None without two pairs."""
    theirs = {result.cell.task: result.top1 for result in others}
    pairs = [100 * (result.top1 - theirs[result.cell.task]) for result in ours if result.cell.task in theirs]
    if len(pairs) < 2:
        return None
    return statistics.fmean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs)), len(pairs)


def table(results: Sequence[Result], column: Callable[[Cell], str]) -> str:
    """Mean top-1 of each program in each column, and below each peer ours minus it."""
    columns = list(dict.fromkeys(column(result.cell) for result in results))
    programs = [name for name in (OURS, *COMPARED) if any(result.cell.program == name for result in results)]
    lines = [f"| program | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]

    def some(program: str, name: str) -> list[Result]:
        return [result for result in results if result.cell.program == program and column(result.cell) == name]

    for program in programs:
        means = [some(program, name) for name in columns]
        cells = [f"{100 * statistics.fmean(one.top1 for one in found):.1f}" if found else "–" for found in means]
        lines.append(f"| {program} | {' | '.join(cells)} |")
    for program in programs:
        if program != OURS:
            found = [difference(some(OURS, name), some(program, name)) for name in columns]
            cells = ["–" if one is None else f"{one[0]:+.1f} ± {one[1]:.1f} ({one[2]})" for one in found]
            lines.append(f"| ours minus {program} | {' | '.join(cells)} |")
    return "\n".join(lines)


def errors_table(results: Sequence[Result]) -> str:
    """The calibration error of ours, without a temperature and as scored."""
    lines = ["| | without a temperature | as scored | runs |", "|---|---|---|---|"]
    ours = [result for result in results if result.cell.program == OURS and result.errors]
    for kind in dict.fromkeys(result.cell.kind for result in ours):
        found = [result.errors for result in ours if result.cell.kind == kind and result.errors]
        without, scored = (100 * statistics.fmean(column) for column in zip(*found, strict=True))
        lines.append(f"| {kind} | {without:.1f} % | {scored:.1f} % | {len(found)} |")
    return "\n".join(lines)


def rates_table(results: Sequence[Result]) -> str:
    """Mean validation and hold-out top-1 of each program at each rate with the first seed; the chosen rate is bold."""
    lines = ["| program | | rate: validation, held out |", "|---|---|---|"]
    for program in dict.fromkeys(result.cell.program for result in results):
        for kind, is_tuned in (("from scratch", False), ("fine-tuned", True)):
            found = [
                result
                for result in results
                if result.cell.program == program
                and bool(result.cell.source) == is_tuned
                and result.cell.seed == 1
                and result.cell.kind in FIRST_KINDS
            ]
            if not found or "," in program:
                continue
            chosen = best_rate(results, found[0].cell)
            shown = []
            for rate in sorted({result.cell.rate for result in found}):
                of_rate = [result for result in found if result.cell.rate == rate]
                validation, held_out = (
                    100 * statistics.fmean(figures)
                    for figures in zip(*((one.validation, one.top1) for one in of_rate), strict=True)
                )
                text = f"{rate:g}: {validation:.1f}, {held_out:.1f}"
                shown.append(f"**{text}**" if rate == chosen else text)
            lines.append(f"| {program} | {kind} | {'; '.join(shown)} |")
    return "\n".join(lines)


def seconds_table(results: Sequence[Result]) -> str:
    lines = ["| program | seconds of a training from scratch, 5 epochs: median |", "|---|---|"]
    for program in dict.fromkeys(result.cell.program for result in results):
        found = [
            result.seconds
            for result in results
            if result.cell.program == program and result.cell.kind == "from scratch, 5 epochs"
        ]
        if found:
            lines.append(f"| {program} | {statistics.median(found):.1f} |")
    return "\n".join(lines)


def page(results: Sequence[Result], machine: str) -> str:
    """All of it; `machine` is a list of what it ran on."""
    best = at_best_rate(results)
    usual = [result for result in best if result.cell.kind in ("from scratch, 5 epochs", "from scratch, 300 images")]
    tuned = [result for result in best if result.cell.source]
    raw = "\n".join(json.dumps(asdict(result)) for result in results)
    return f"""# How good the trained networks are, beside others

Top-1 in percent on images held out, each program at its own best learning rate: the one with the best mean validation
accuracy with the first seed. What is held out chose nothing: neither the rate nor the epoch. ResNet-18, batch size 16,
bfloat16. Ours minus another program is paired by set, number of images, epochs and seed, with its standard error and the
number of pairs.

`before` is the commit 84041d1, before these choices. `plain` is a plain PyTorch script with a cosine to zero and no random
operation; timm has its own initial weights, an epoch of warm-up, a cosine and label smoothing; `mild` is a crop of 70 to
100 % and a flip, `default` its script's crop of 8 to 100 %, flip and colour jitter. Ours has no random operation, as nobody
asked for one.

{table(best, lambda cell: cell.kind)}

## By set, from scratch, 5 epochs

{table(usual, lambda cell: cell.set)}

## By set, fine-tuned

{table(tuned, lambda cell: f"{cell.set}, {cell.images}")}

## Expected calibration error of ours, on images held out

{errors_table(best)}

## Learning rates, first seed

{rates_table(results)}

## Seconds

{seconds_table(results)}

Seconds are of the epochs with their validations, one thread, two trainings side by side; the peers have their images in memory.

* Sets: Fashion-MNIST (28 pixels), openclipart (nine subjects, 64 pixels), Tux Paint's stamps (64 pixels), scikit-learn's digits
  (32 pixels): benchmarks/image_sets.py.
* A network to fine-tune was trained on openclipart (for the stamps and for fashion) or on 6,000 images of fashion (for
  openclipart), the same for every program.
* Command: `make bench-accuracy`; {len(results)} runs.
{machine}
<details><summary>All runs</summary>

```text
{raw}
```

</details>"""
