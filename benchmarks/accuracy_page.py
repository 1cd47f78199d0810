"""The page of accuracy.py: pure functions from results to Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

OURS = "ours"
BEFORE = "84041d1"
"""The commit before these choices were made."""
RATES = {False: (0.01, 0.03, 0.1), True: (0.003, 0.01, 0.03)}
"""That every program is tried at first: from scratch, and fine-tuned."""
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""What follows where the best one is at the edge."""
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
        if self.is_unseen:
            return "unseen sets, " + (f"fine-tuned, {self.images} images" if self.source else "from scratch")
        if self.source:
            return f"fine-tuned, {self.images} images"
        if self.set == "digits":
            return "digits"
        usual = 400 <= self.images <= 500
        return f"from scratch, {self.epochs} epochs" if usual else f"from scratch, {self.images} images"

    @property
    def is_unseen(self) -> bool:
        """Whether choices.py never looks at the set."""
        return self.set.endswith("_unseen")

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
        commit: of the program, where it is ours.
        precision: the number format that it was trained in.
        failed: why there is nothing else.
    """

    cell: Cell
    top1: float = 0
    validation: float = 0
    seconds: float = 0
    errors: Sequence[float] | None = None
    commit: str = ""
    precision: str = "bfloat16"
    failed: str = ""

    @property
    def paired_by(self) -> tuple[object, ...]:
        """What is the same in two programs' results that are compared."""
        return self.precision, self.cell.task


def read(lines: Sequence[str]) -> list[Result]:
    """Results from lines of JSON; of several for one cell, the last."""
    found = [Result(**line | {"cell": Cell(**line["cell"])}) for line in map(json.loads, lines)]
    return list({result.cell: result for result in found}.values())


def best_rate(results: Sequence[Result], cell: Cell) -> float | None:
    """The learning rate of a cell's program, from scratch or fine-tuned, with the best mean validation accuracy at first.

    A rate at which a training failed is not chosen. None where there is none yet.
    """
    found = by_rate(results, cell.program.partition(",")[0], bool(cell.source))
    sound = {rate: some for rate, some in found.items() if not any(result.failed for result in some)}
    return max(sound, key=lambda rate: statistics.fmean(result.validation for result in sound[rate]), default=None)


def by_rate(results: Sequence[Result], program: str, is_tuned: bool) -> dict[float, list[Result]]:
    """The results that choose a program's rate: on the tasks that it did at each of the first rates; lowest rate first.

    A further rate has to have all of these.
    """
    found: dict[float, dict[tuple[object, ...], Result]] = {}
    for result in results:
        if is_first(result.cell, program, is_tuned):
            found.setdefault(result.cell.rate, {})[result.cell.task] = result
    usual = [set(some) for rate, some in found.items() if rate in RATES[is_tuned]]
    tasks = set.intersection(*usual) if usual else set()
    return {rate: [found[rate][task] for task in tasks] for rate in sorted(found) if tasks and tasks <= set(found[rate])}


def beyond(results: Sequence[Result], first: Sequence[Cell]) -> list[Cell]:
    """The first cells of each program whose best rate is the lowest or the highest tried, at the next rate there."""
    more: dict[Cell, None] = {}
    for cell in first:
        chosen, tried = best_rate(results, cell), list(by_rate(results, cell.program, bool(cell.source)))
        if chosen is not None and chosen in LADDER:
            place = LADDER.index(chosen) + (1 if chosen == tried[-1] else -1 if chosen == tried[0] else 0)
            if 0 <= place < len(LADDER) and LADDER[place] not in tried:
                more[replace(cell, rate=LADDER[place])] = None
    return list(more)


def is_first(cell: Cell, program: str, is_tuned: bool) -> bool:
    """Whether a cell is one of those that choose a program's rate, from scratch or fine-tuned."""
    return cell.program == program and bool(cell.source) == is_tuned and cell.seed == 1 and cell.kind in FIRST_KINDS


FIRST_KINDS = {"from scratch, 5 epochs", "from scratch, 300 images", "fine-tuned, 50 images", "fine-tuned, 200 images"}


def at_best_rate(results: Sequence[Result]) -> list[Result]:
    """The results of each program at its own best rate."""
    return [result for result in results if not result.failed and result.cell.rate == best_rate(results, result.cell)]


def difference(ours: Sequence[Result], others: Sequence[Result]) -> tuple[float, float, int] | None:
    """Ours minus others' in points, paired by task and precision: mean, standard error, number of pairs; None without two."""
    theirs = {result.paired_by: result.top1 for result in others}
    pairs = [100 * (result.top1 - theirs[result.paired_by]) for result in ours if result.paired_by in theirs]
    if len(pairs) < 2:
        return None
    return statistics.fmean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs)), len(pairs)


def table(results: Sequence[Result], column: Callable[[Cell], str]) -> str:
    """Mean top-1 of each program in each column with its number of runs, and ours minus each peer's."""
    columns = list(dict.fromkeys(column(result.cell) for result in results))
    programs = [name for name in (OURS, *COMPARED) if any(result.cell.program == name for result in results)]
    lines = [f"| program | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]

    def some(program: str, name: str) -> list[Result]:
        return [result for result in results if result.cell.program == program and column(result.cell) == name]

    for program in programs:
        means = [some(program, name) for name in columns]
        cells = [f"{100 * statistics.fmean(one.top1 for one in found):.1f} ({len(found)})" if found else "–" for found in means]
        lines.append(f"| {program} | {' | '.join(cells)} |")
    for program in programs:
        if program != OURS:
            found = [difference(some(OURS, name), some(program, name)) for name in columns]
            cells = ["–" if one is None else f"{one[0]:+.1f} ± {one[1]:.1f} ({one[2]})" for one in found]
            lines.append(f"| ours minus {program} | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Target:
    """What was aimed at: ours minus the best of some programs, at least so many points, on cells of some kinds."""

    text: str
    programs: tuple[str, ...]
    kinds: tuple[str, ...]
    points: float


SCRATCH = ("from scratch, 5 epochs", "from scratch, 8 epochs")
FEW = ("fine-tuned, 50 images", "fine-tuned, 200 images")
TARGETS = (
    Target("from scratch, beside the better of plain and timm mild", ("plain", "timm mild"), SCRATCH, 1.0),
    Target(
        "fine-tuned, beside the better of plain and timm mild", ("plain", "timm mild"), (*FEW, "fine-tuned, 1000 images"), 1.0
    ),
    Target("from scratch, 5 and 8 epochs, beside before", ("before",), SCRATCH, 1.5),
    Target("fine-tuned, 50 and 200 images, beside before", ("before",), FEW, 2.0),
)


def targets_table(results: Sequence[Result]) -> str:
    """Each target with what was found, on the sets that choices.py looked at and on those that it did not."""
    lines = ["| aimed at | at least | found | on unseen sets |", "|---|---|---|---|"]
    for target in TARGETS:
        seen = [result for result in results if result.cell.kind in target.kinds]
        is_tuned = target.kinds[0].startswith("fine-tuned")
        unseen = [result for result in results if result.cell.is_unseen and bool(result.cell.source) == is_tuned]
        lines.append(f"| {target.text} | +{target.points:.1f} | {verdict(seen, target)} | {verdict(unseen, target)} |")
    errors = [result.errors for result in results if result.cell.program == OURS and result.errors]
    if errors:
        without, scored = (statistics.fmean(column) for column in zip(*errors, strict=True))
        reached = "reached" if scored <= without / 2 or scored < 0.03 else "missed"
        found = f"{reached}: {without:.1%} without, {scored:.1%} as scored"
        lines.append(f"| calibration error halved by the temperature, or below 3 % | | {found} | |")
    return "\n".join(lines)


def verdict(results: Sequence[Result], target: Target) -> str:
    """Whether a target is reached beside the best of its programs, and on which sets ours is worse by more than an error.

    It is open where a set has too few runs to tell.
    """
    ours = [result for result in results if result.cell.program == OURS]
    found = []
    for program in target.programs:
        theirs = [result for result in results if result.cell.program == program]
        of_all = difference(ours, theirs)
        if of_all is None:
            return "–"
        of_sets = {
            name: difference([result for result in ours if result.cell.set == name], theirs)
            for name in dict.fromkeys(result.cell.set for result in ours)
        }
        worse = [f"{name} {one[0]:+.1f} ± {one[1]:.1f}" for name, one in of_sets.items() if one and one[0] < -one[1]]
        found.append((of_all, program, worse, None in of_sets.values()))
    (mean, error, pairs), program, worse, is_open = min(found)
    reached = "missed" if mean < target.points or worse else "open" if is_open else "reached"
    below = f"; worse on {', '.join(worse)}" if worse else ""
    return f"{reached}: {mean:+.1f} ± {error:.1f} ({pairs}) beside {program}{below}"


def errors_table(results: Sequence[Result]) -> str:
    """The calibration error of ours, without a temperature and as scored, by kind and by set."""
    lines = ["| | without a temperature | as scored | runs |", "|---|---|---|---|"]
    ours = [result for result in results if result.cell.program == OURS and result.errors]
    columns: tuple[Callable[[Cell], str], ...] = (lambda cell: cell.kind, lambda cell: f"{cell.set}, all runs")
    for column in columns:
        for name in dict.fromkeys(column(result.cell) for result in ours):
            found = [result.errors for result in ours if column(result.cell) == name and result.errors]
            without, scored = (100 * statistics.fmean(errors) for errors in zip(*found, strict=True))
            lines.append(f"| {name} | {without:.1f} % | {scored:.1f} % | {len(found)} |")
    return "\n".join(lines)


def rates_table(results: Sequence[Result]) -> str:
    """Mean validation and hold-out top-1 of each program at each rate with the first seed; the chosen rate is bold."""
    lines = ["| program | | runs a rate | rate: validation, held out | chosen |", "|---|---|---|---|---|"]
    for program in dict.fromkeys(result.cell.program for result in results):
        for kind, is_tuned in (("from scratch", False), ("fine-tuned", True)):
            found = by_rate(results, program, is_tuned)
            if not found or "," in program:
                continue
            chosen = best_rate(results, next(iter(found.values()))[0].cell)
            shown = []
            for rate, of_rate in found.items():
                if any(result.failed for result in of_rate):
                    shown.append(f"{rate:g}: failed")
                    continue
                validation, held_out = (
                    100 * statistics.fmean(figures)
                    for figures in zip(*((one.validation, one.top1) for one in of_rate), strict=True)
                )
                text = f"{rate:g}: {validation:.1f}, {held_out:.1f}"
                shown.append(f"**{text}**" if rate == chosen else text)
            remark = "none" if chosen is None else edge(chosen, list(found))
            lines.append(f"| {program} | {kind} | {len(next(iter(found.values())))} | {'; '.join(shown)} | {remark} |")
    return "\n".join(lines)


def any_rate_table(results: Sequence[Result]) -> str:
    """Mean top-1 over the rates tried first, with the first seed, and ours minus each, paired by rate and task."""
    lines = ["| program | from scratch | fine-tuned |", "|---|---|---|"]

    def found(program: str, is_tuned: bool) -> dict[tuple[object, ...], float]:
        first = [one for one in results if is_first(one.cell, program, is_tuned) and one.cell.rate in RATES[is_tuned]]
        return {(one.cell.rate, *one.cell.task): 100 * one.top1 for one in first if not one.failed}

    for program in (OURS, *COMPARED[:-1]):
        cells = []
        for is_tuned in (False, True):
            ours, own = found(OURS, is_tuned), found(program, is_tuned)
            gaps = [ours[pair] - own[pair] for pair in own if pair in ours]
            if len(gaps) < 2:
                cells.append("–")
                continue
            error = statistics.stdev(gaps) / math.sqrt(len(gaps))
            less = "" if program == OURS else f"; ours {statistics.fmean(gaps):+.1f} ± {error:.1f}"
            cells.append(f"{statistics.fmean(own.values()):.1f} ({len(own)}){less}")
        lines.append(f"| {program} | {' | '.join(cells)} |")
    return "\n".join(lines)


def edge(chosen: float, rates: Sequence[float]) -> str:
    """What a chosen rate leaves open."""
    if chosen == min(rates):
        return "the lowest tried: a lower one may be better"
    return "the highest tried: a higher one may be better" if chosen == max(rates) else "between others"


def commits(results: Sequence[Result]) -> str:
    """How many runs of ours came from which commit."""
    of_ours = Counter(result.commit or "unknown" for result in results if result.cell.program.partition(",")[0] == OURS)
    return ", ".join(f"{commit} ({count} runs)" for commit, count in of_ours.items()) or "none yet"


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


def page(results: Sequence[Result], machine: str, command: str, missing: int) -> str:
    """All of it.

    Args:
        results: in any order.
        machine: lines on what they ran on.
        command: that makes the page.
        missing: number of runs that are still to be done.
    """
    best = at_best_rate(results)
    usual = [result for result in best if result.cell.kind in ("from scratch, 5 epochs", "from scratch, 300 images")]
    tuned = [result for result in best if result.cell.source and not result.cell.is_unseen]
    unseen = [result for result in best if result.cell.is_unseen]
    raw = "\n".join(json.dumps(asdict(result)) for result in results)
    failed = "".join(f"* Failed: {result.cell}: {result.failed}\n" for result in results if result.failed)
    plainly = sum(result.precision == "float32" for result in results)
    precision = f"bfloat16, but for {plainly} runs on a machine without it, in float32" if plainly else "bfloat16"
    unfinished = (
        f"{missing} runs are still missing, and the rates chosen may still change; the same command goes on.\n\n"
        if missing
        else ""
    )
    return f"""# How good the trained networks are, beside others

{unfinished}Top-1 in percent on images held out, each program at its own best learning rate: the one with the best mean
validation accuracy with the first seed. Neither the rate nor the epoch that is kept was chosen by what is held out. ResNet-18,
batch size 16, {precision}. Beside each mean is its number of runs.
Ours minus another program is paired by set, number of images, epochs, seed and number format, with its standard error and the
number of pairs; where numbers of runs differ, only this compares like with like.

What ours does by default was chosen with benchmarks/choices.py, which compared it on the same held-out images of fashion, clipart
and stamps: there ours may look better than it is. It looked at none of the pictures of the unseen sets, and no learning rate was
chosen on them; a first trial, which is not kept, had drawn 28 % of the pictures of clipart_unseen for its own set.

`before` is the commit {BEFORE}, before these choices. `plain` is a plain PyTorch script with a cosine to zero and no random
operation; timm has its own initial weights, an epoch of warm-up, a cosine and label smoothing; `mild` is a crop of 70 to
100 % and a flip, `default` its script's crop of 8 to 100 %, flip and colour jitter. Ours has no random operation, as nobody
asked for one.

{table(best, lambda cell: cell.kind)}

## What was aimed at

{targets_table(best)}

## By set, from scratch, 5 epochs

{table(usual, lambda cell: cell.set)}

## By set, fine-tuned

{table(tuned, lambda cell: f"{cell.set}, {cell.images}")}

## Unseen sets, each

{table(unseen, lambda cell: f"{cell.set.removesuffix('_unseen')}, {'fine-tuned' if cell.source else 'scratch'}, {cell.images}")}

## Expected calibration error of ours, on images held out

{errors_table(best)}

## Learning rates, first seed

{rates_table(results)}

Whoever trains once does not know the best rate. At any of the rates that all programs tried first
({", ".join(map(str, RATES[False]))} from scratch, {", ".join(map(str, RATES[True]))} fine-tuned):

{any_rate_table(results)}

## Seconds

{seconds_table(results)}

Seconds are of the epochs with their validations, one thread, two trainings side by side; the peers have their images in memory.
Whatever else the machine does meanwhile shows in them.

* Sets: Fashion-MNIST (28 pixels), openclipart (nine subjects, 64 pixels), Tux Paint's stamps (64 pixels), scikit-learn's digits
  (32 pixels); unseen: 12,000 other photos of fashion, other pictures of openclipart's four largest subjects, and six other
  subjects (objects): benchmarks/image_sets.py.
* A network to fine-tune was trained on openclipart (for stamps, fashion and objects) or on 6,000 images of fashion (for
  openclipart's subjects), the same for every program.
* Ours is of commit {commits(results)}.
* Command: `{command}`; {len(results)} runs.
{failed}{machine}
<details><summary>All runs</summary>

```text
{raw}
```

</details>
"""
