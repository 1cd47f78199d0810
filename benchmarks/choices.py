"""Each choice behind the seven parameters by itself: a small network trained with and without it, on images in memory.

    python benchmarks/choices.py FOLDER/sets RESULTS.jsonl [MINUTES] > benchmarks/DATE_choices.md

FOLDER/sets is what image_sets.py makes. The network is a ResNet-18 of half the width, so that many runs fit into an hour; what
wins here is then measured with real networks and beside others by accuracy.py. Two runs side by side, one thread each. What is in
RESULTS.jsonl is not done again, so that the same command goes on where it was stopped. Every run reports, on images held out, the
epoch that was chosen on others. The choices were made by these figures: accuracy.py has sets that none of them looked at.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import folded, hardware, say
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2.functional import pil_to_tensor

from designer_vision.data.epoch_order import batches
from designer_vision.runtime.precision import choose_precision

SETS = {"fashion": 500, "clipart": 500, "stamps": 400}
"""Images to train on; a sixth as many validate."""
HOLD_OUT = 1000
SEEDS, EPOCHS, BATCH = (1, 2, 3), 6, 16
SOURCES = {"clipart": ("stamps", "fashion"), "fashion": ("clipart",)}
"""Where a network to fine-tune has learned, and what it is then trained on."""
FEW = (50, 200)
RATE, RATES, LOW_RATES = 0.02, (0.005, 0.01, 0.02, 0.05), (0.001, 0.005, 0.02)
NORMS = (nn.BatchNorm2d,)


@dataclass(frozen=True)
class Choice:
    """How a training is done; the defaults are those of the commit before.

    Attributes:
        decay: of the learning rate: the power of what is left, or 0 for cosine.
        smoothing: of labels.
        centralized: whether each filter's gradient has its mean taken away.
        but_the_head: whether that leaves out the last layer.
        long_statistics: whether batch norm averages over an epoch instead of ten batches.
        average: horizon of an exponential average of the weights, as a share of all steps; 0 for none.
        weight_decay: on kernels and matrices.
        ramp: share of the steps in which the learning rate rises.
        stratified: whether batches have all classes in proportion.
        clipped: norm that gradients are clipped to; 0 for none.
        rule: which epoch is kept: the one with the best `top1`, with the lowest `loss`, or the `latest` whose top-1 is within a
            standard error of the best.
        zero_head: whether the last layer begins at zero.
        head_rate: its learning rate, in times that of the others.
        head_most: what that is at most, where the others' is not more; 0 for no limit.
        probed: whether the last layer is fitted to the features of all images first.
    """

    decay: float = 2
    smoothing: float = 0
    centralized: bool = False
    but_the_head: bool = False
    long_statistics: bool = False
    average: float = 0
    weight_decay: float = 1e-4
    ramp: float = 0
    stratified: bool = False
    clipped: float = 0
    rule: str = "top1"
    zero_head: bool = False
    head_rate: float = 1
    head_most: float = 0
    probed: bool = False


BEFORE = Choice()
NOW = Choice(decay=1, centralized=True, rule="latest")
NOW_TUNED = replace(NOW, zero_head=True, head_rate=10, head_most=0.05)
FROM_SCRATCH = {
    "before": BEFORE,
    "linear decay": replace(BEFORE, decay=1),
    "gradients centralized": replace(BEFORE, centralized=True),
    "latest epoch within a standard error of the best top-1 kept": replace(BEFORE, rule="latest"),
    "these three: now": NOW,
    "now, decay of power 2": replace(NOW, decay=2),
    "now, cosine decay": replace(NOW, decay=0),
    "now, best top-1 kept": replace(NOW, rule="top1"),
    "now, lowest loss kept": replace(NOW, rule="loss"),
    "now, gradients not centralized": replace(NOW, centralized=False),
    "now, head not centralized": replace(NOW, but_the_head=True),
    "now, batch-norm statistics of an epoch": replace(NOW, long_statistics=True),
    "now, label smoothing 0.1": replace(NOW, smoothing=0.1),
    "now, averaged weights (a tenth of the steps)": replace(NOW, average=0.1),
    "now, weight decay 5e-4": replace(NOW, weight_decay=5e-4),
    "now, a tenth of the steps to warm up": replace(NOW, ramp=0.1),
    "now, batches with all classes in proportion": replace(NOW, stratified=True),
    "now, gradients clipped to 2": replace(NOW, clipped=2),
    "before, cosine decay": replace(BEFORE, decay=0),
}
RATED = ("before", "these three: now", "now, decay of power 2", "now, cosine decay", "before, cosine decay")
TUNED = {
    "before": BEFORE,
    "now, head as before": NOW,
    "now, head from zero": replace(NOW, zero_head=True),
    "now, head from zero at 3 times the rate": replace(NOW, zero_head=True, head_rate=3),
    "now, head from zero at 10 times the rate": replace(NOW_TUNED, head_most=0),
    "now, head from zero at 10 times the rate, 0.1 at most": replace(NOW_TUNED, head_most=0.1),
    "now, head from zero at 10 times the rate, 0.05 at most: now": NOW_TUNED,
    "now, head from zero at 10 times the rate, 0.03 at most": replace(NOW_TUNED, head_most=0.03),
    "that, decay of power 2": replace(NOW_TUNED, decay=2),
    "that, head not centralized": replace(NOW_TUNED, but_the_head=True),
    "now, head fitted to features first": replace(NOW, probed=True),
}


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    choice: Choice
    target: str
    images: int
    epochs: int
    rate: float
    seed: int
    source: str = ""

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def plan() -> Iterator[Run]:
    """All runs, the most telling first; those with a source need networks that are trained before."""
    for seed in SEEDS:
        yield from (run for name in FROM_SCRATCH for run in from_scratch(name, RATE, seed))
    for seed in SEEDS:
        for rate in RATES:
            if rate != RATE:
                yield from (run for name in RATED for run in from_scratch(name, rate, seed))
    for seed in SEEDS:
        for name, choice in TUNED.items():
            for source, targets in SOURCES.items():
                for target in targets:
                    for images in FEW:
                        for rate in LOW_RATES:
                            yield Run(name, choice, target, images, EPOCHS, rate, seed, source)


def from_scratch(name: str, rate: float, seed: int) -> Iterator[Run]:
    for target, images in SETS.items():
        yield Run(name, FROM_SCRATCH[name], target, images, EPOCHS, rate, seed)


# Data


@dataclass(frozen=True)
class Part:
    """Some images, float [n, 3, height, width] from -1 to 1, and their labels."""

    images: Tensor
    labels: Tensor


@cache
def read(folder: Path) -> tuple[Tensor, Tensor]:
    """A set of class folders: uint8 [n, 3, height, width] and int64 [n]."""
    found = [(pil_to_tensor(image.convert("RGB")), label) for image, label in ImageFolder(str(folder))]
    return torch.stack([image for image, _ in found]), torch.tensor([label for _, label in found])


def parts(folder: Path, images: int, seed: int) -> tuple[Part, Part, Part]:
    """Images to train on, to validate with and to measure by; another drawing for each seed."""
    pixels, labels = read(folder)
    order = torch.from_numpy(np.random.default_rng(1000 + seed).permutation(len(pixels)))
    held_out = min(HOLD_OUT, len(pixels) // 3)
    validated = max(20, images // 6)
    ends = np.cumsum([held_out, validated, images])

    def part(rows: Tensor) -> Part:
        scaled = pixels[rows].float().div(127.5).sub(1)
        return Part(scaled.contiguous(memory_format=torch.channels_last), labels[rows])

    return part(order[ends[1] : ends[2]]), part(order[ends[0] : ends[1]]), part(order[: ends[0]])


# The training


class Half(ResNet):
    """A ResNet-18 of half the width."""

    def __init__(self, classes: int) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        self.fc = nn.Linear(256, classes)

    def _make_layer(self, block: Any, planes: int, *rest: Any, **named: Any) -> nn.Sequential:
        if planes == 64:
            self.inplanes, self.conv1, self.bn1 = 32, nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32)
        return super()._make_layer(block, planes // 2, *rest, **named)


@cache
def precision() -> torch.dtype:
    """What everything is computed in."""
    return choose_precision(torch.device("cpu"), os.environ.get("DESIGNER_VISION_PRECISION"))


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision() == torch.bfloat16)


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    network.eval()
    with torch.inference_mode(), autocast():
        return torch.cat([network(some).float() for some in images.split(64)]).clone()


def top1_and_loss(network: nn.Module, part: Part) -> tuple[float, float]:
    logits = logits_of(network, part.images)
    return float((logits.argmax(1) == part.labels).float().mean()), float(nn.functional.cross_entropy(logits, part.labels))


def rate_at(step: int, steps: int, run: Run) -> float:
    ramp = run.choice.ramp * steps
    if step < ramp:
        return run.rate * (step + 1) / (ramp + 1)
    done = (step - ramp) / (steps - ramp)
    return run.rate * ((1 + math.cos(math.pi * done)) / 2 if run.choice.decay == 0 else (1 - done) ** run.choice.decay)


def order_of(part: Part, run: Run, epoch: int) -> np.ndarray:
    random = np.random.default_rng((run.seed, epoch))
    if not run.choice.stratified:
        return random.permutation(len(part.labels))
    place = np.empty(len(part.labels))
    for label in np.unique(part.labels):
        rows = random.permutation(np.flatnonzero(part.labels.numpy() == label))
        place[rows] = (np.arange(len(rows)) + random.random()) / len(rows)
    return np.argsort(place, kind="stable")


def keeps(choice: Choice, kept: tuple[float, float], new: tuple[float, float], best: float, images: int) -> bool:
    """Whether a new epoch takes the place of the one that is kept; `best` is the highest top-1 so far."""
    if choice.rule == "top1":
        return (new[0], -new[1]) > (kept[0], -kept[1])
    if choice.rule == "loss":
        return new[1] < kept[1]
    return new[0] >= best - math.sqrt(best * (1 - best) / images)


def probe(network: Half, part: Part, run: Run) -> None:
    """Fit the head to what comes out of the rest, with batch norm as in training."""
    head, network.fc = network.fc, nn.Identity()
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    for norm in norms:
        norm.momentum = 0.0
    network.train()
    order = np.random.default_rng(run.seed).permutation(len(part.labels))
    with torch.no_grad(), autocast():
        features = torch.cat([network(part.images[rows]).float() for rows in batches(order, BATCH)])
    for norm in norms:
        norm.momentum = 0.1
    mean, scale = features.mean(0), features.std()
    standard = (features - mean) / scale
    weight, bias = torch.zeros_like(head.weight).requires_grad_(), torch.zeros_like(head.bias).requires_grad_()
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = nn.functional.cross_entropy(standard @ weight.T + bias, part.labels[order]) + weight.square().sum() / 2
        loss.backward()
        return loss

    solver.step(closure)
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias - weight @ mean / scale)
    network.fc = head


def head_scale(choice: Choice, rate: float) -> float:
    return max(1.0, min(choice.head_rate, choice.head_most / rate)) if choice.head_most else choice.head_rate


def optimizer_of(network: Half, choice: Choice, rate: float) -> torch.optim.SGD:
    head = list(network.fc.parameters())
    rest = [parameter for parameter in network.parameters() if all(parameter is not own for own in head)]
    groups = [
        {
            "params": [one for one in some if (one.ndim > 1) == decays],
            "weight_decay": choice.weight_decay if decays else 0,
            "lr_scale": scale,
        }
        for some, scale in ((rest, 1.0), (head, head_scale(choice, rate)))
        for decays in (True, False)
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True, fused=True)


def train(run: Run, sets: Path, sources: Path) -> dict[str, Any]:
    """One training; the hold-out's top-1 at the kept epoch, or the average where there is one, and at the last epoch."""
    torch.set_num_threads(1)
    choice = run.choice
    training, validation, held_out = parts(sets / run.target, run.images, run.seed)
    classes = len(read(sets / run.target)[1].unique())
    torch.manual_seed(run.seed)
    network = Half(classes)
    if run.source:
        weights = torch.load(sources / f"{run.source}.pt")
        network.load_state_dict(
            {name: weights.get(name, own) if "fc" not in name else own for name, own in network.state_dict().items()}
        )
    if choice.zero_head:
        nn.init.zeros_(network.fc.weight)
        nn.init.zeros_(network.fc.bias)
    network = network.to(memory_format=torch.channels_last)
    if choice.probed:
        probe(network, training, run)
    optimizer = optimizer_of(network, choice, run.rate)
    kernels = [one for one in network.parameters() if one.ndim > 1 and not (choice.but_the_head and one is network.fc.weight)]
    average: list[Tensor] = []
    steps_an_epoch = len(batches(np.arange(len(training.labels)), BATCH))
    steps, step, best = steps_an_epoch * run.epochs, 0, 0.0
    kept: tuple[float, float] | None = None
    began = time.perf_counter()
    for epoch in range(1, run.epochs + 1):
        network.train()
        if choice.long_statistics and epoch > 1:
            for module in network.modules():
                if isinstance(module, NORMS):
                    module.momentum = 1 / max(10, steps_an_epoch)
        for rows in batches(order_of(training, run, epoch), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, steps, run) * group["lr_scale"]
            with autocast():
                logits = network(training.images[rows])
            loss = nn.functional.cross_entropy(logits.float(), training.labels[rows], label_smoothing=choice.smoothing)
            optimizer.zero_grad()
            loss.backward()
            if choice.clipped:
                nn.utils.clip_grad_norm_(network.parameters(), choice.clipped)
            if choice.centralized:
                for kernel in kernels:
                    assert kernel.grad is not None
                    kernel.grad -= kernel.grad.mean(dim=tuple(range(1, kernel.ndim)), keepdim=True)
            optimizer.step()
            step += 1
            if choice.average:
                now = [*network.parameters(), *(buffer for buffer in network.buffers() if buffer.is_floating_point())]
                with torch.no_grad():
                    average = average or [tensor.detach().clone() for tensor in now]
                    torch._foreach_lerp_(
                        average, [tensor.detach() for tensor in now], 1 / (1 + min(step, choice.average * steps))
                    )
        found = top1_and_loss(network, validation)
        best = max(best, found[0])
        if kept is None or keeps(choice, kept, found, best, len(validation.labels)):
            kept = found
            weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    seconds = time.perf_counter() - began
    last = top1_and_loss(network, held_out)[0]
    if average:
        now = [*network.parameters(), *(buffer for buffer in network.buffers() if buffer.is_floating_point())]
        with torch.no_grad():
            for tensor, mean in zip(now, average, strict=True):
                tensor.copy_(mean)
    else:
        network.load_state_dict(weights)
    kept_top1 = top1_and_loss(network, held_out)[0]
    return {"last": last, "seconds": round(seconds, 1), "kept": kept_top1, "precision": str(precision())}


def source(name: str, sets: Path, folder: Path) -> None:
    """A network to fine-tune: trained on all images of a set, at most 6,000, with a mild crop and flip."""
    path = folder / f"{name}.pt"
    if path.exists():
        return
    torch.set_num_threads(2)
    torch.manual_seed(0)
    pixels, labels = (tensor[:6000] for tensor in shuffled(*read(sets / name)))
    network = Half(len(labels.unique())).to(memory_format=torch.channels_last)
    optimizer = optimizer_of(network, BEFORE, 0.05)
    crop = RandomResizedCrop(pixels.shape[-1], (0.4, 1), antialias=True)
    epochs = max(3, round(25_000 / len(pixels)))
    steps = epochs * len(batches(np.arange(len(pixels)), 32))
    step = 0
    network.train()
    for epoch in range(epochs):
        for rows in batches(np.random.default_rng((0, epoch)).permutation(len(pixels)), 32):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / steps) * min(1, 5 * (step + 1) / steps)
            images = torch.stack([crop(image) for image in pixels[rows]]).float().div(127.5).sub(1)
            images = images.flip(3) if step % 2 else images
            with autocast():
                logits = network(images.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
            step += 1
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)


def shuffled(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(pixels)))
    return pixels[order], labels[order]


# The page


def done(results: Path) -> dict[str, dict[str, Any]]:
    """Runs that are finished, by their key; those in the number format of today's."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {
        Run(**line["run"] | {"choice": Choice(**line["run"]["choice"])}).key: line["result"]
        for line in map(json.loads, lines)
        if line["result"].get("precision", "torch.bfloat16") == str(precision())
    }


def table(found: dict[str, dict[str, Any]], runs: Sequence[Run], first: str, column: Callable[[Run], str]) -> str:
    """A row a choice: the mean over seeds in each column, and the difference from the first one, paired run by run."""
    by_name: dict[str, dict[tuple[Any, ...], tuple[str, float]]] = {}
    for run in runs:
        if run.key in found:
            pair = (run.target, run.images, run.rate, run.seed, run.source)
            by_name.setdefault(run.name, {})[pair] = (column(run), 100 * found[run.key]["kept"])
    if not by_name:
        return "No run in this number format yet."
    columns = list(dict.fromkeys(column(run) for run in runs if run.key in found))
    lines = [f"| choice | {' | '.join(columns)} | difference | runs |", "|---" * (len(columns) + 3) + "|"]
    for name, rows in by_name.items():
        means = [[top1 for place, top1 in rows.values() if place == one] for one in columns]
        cells = " | ".join(f"{statistics.mean(mean):.1f}" if mean else "–" for mean in means)
        differences = [top1 - by_name[first][pair][1] for pair, (_, top1) in rows.items() if pair in by_name.get(first, {})]
        error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
        difference = "" if name == first else f"{statistics.mean(differences):+.1f} ± {error:.1f}" if differences else "–"
        lines.append(f"| {name} | {cells} | {difference} | {len(rows)} |")
    return "\n".join(lines)


def page(found: dict[str, dict[str, Any]]) -> str:
    """What was tried, what is kept, and the lines that it comes from."""
    runs = list(plan())
    scratch = [run for run in runs if not run.source and run.rate == RATE]
    rates = [run for run in runs if not run.source and run.name in RATED]
    tuned = [run for run in runs if run.source]
    raw = [
        json.dumps({"run": json.loads(key), "result": result})
        for key, result in found.items()
        if key in {run.key for run in runs}
    ]
    return f"""# Choices behind the seven parameters, one at a time

Top-1 in percent on images held out, of a ResNet-18 of half the width after {EPOCHS} epochs of batch size {BATCH}, in
{str(precision()).removeprefix("torch.")}. The epoch that is reported was chosen on other images (a sixth as many as those to
train on). The difference is the mean over runs with the same set, images, rate and seed, with its standard error.

The choices were made by these figures, so they flatter them; accuracy.py has sets that no choice looked at.

## From scratch, learning rate {RATE}

{table(found, scratch, "before", lambda run: f"{run.target}, {run.images}")}

## From scratch, by learning rate

{table(found, rates, "before", lambda run: f"rate {run.rate}")}

## Fine-tuned: a new head on a network trained on another set

{table(found, tuned, "before", lambda run: f"{run.images} images, rate {run.rate}")}

* Command: `make bench-choices`
{hardware(("torch", "torchvision"))}
{folded(raw)}"""


def _one(given: tuple[Run, Path, Path]) -> tuple[Run, dict[str, Any]]:
    return given[0], train(*given)


def main(sets: Path, results: Path, minutes: float) -> None:
    ends = time.monotonic() + 60 * minutes
    sources = results.parent / "sources_of_half_width"
    left = [run for run in plan() if run.key not in done(results)]
    say(f"{len(left)} runs to do")
    for is_tuned in (False, True):
        some = [(run, sets, sources) for run in left if bool(run.source) == is_tuned]
        if not some or time.monotonic() > ends:
            continue
        for name in SOURCES if is_tuned else ():
            source(name, sets, sources)
        with multiprocessing.get_context("spawn").Pool(2) as pool, results.open("a") as file:
            for run, result in pool.imap_unordered(_one, some):
                file.write(json.dumps({"run": asdict(run), "result": result}) + "\n")
                file.flush()
                say(f"{run.name}, {run.target} {run.images}, rate {run.rate}, seed {run.seed}: {result['kept']:.3f}")
                if time.monotonic() > ends:
                    break
    print(page(done(results)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 600)
