"""What benchmarks/gpu.py makes of lines, traces and figures: pure functions, and the page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CELLS = ("resnet50:64", "resnet18:16", "resnet50:256", "resnet18:256", "densenet121:64", "resnet50:16", "resnet18:64",
         "densenet121:16", "densenet121:256")  # fmt: skip
CONTENDERS = ("ours", "ours, compiled", "ours, images kept", "ours, all GPUs", "timm, best flags", "timm, compiled",
              "network alone", "network alone, compiled", "plain script")  # fmt: skip
MUCH_WAITING, MUCH_IDLE = 0.1, 0.2
RESNET50_GFLOP, RESNET50_MB = 24.5, 450
"""Of a training step, an image: gpu_arithmetic.md."""
PEAKS = {"T4": (65, 0.32), "A10": (125, 0.6), "A100": (312, 1.56), "H100": (989, 3.35), "H200": (989, 4.8)}
"""TFLOP/s of dense 16-bit products and TB/s of memory, from NVIDIA's data sheets."""
EXPLANATION = """\
* Everyone reads the same JPEG photos of about 500 x 375 from the page cache, takes a random resized crop of 224 x 224 and flips
  it, and trains from scratch with SGD, with as many data workers as there are CPUs (ours: 16 at most a process).
* ours decodes every image in every epoch (DESIGNER_VISION_CACHE_MB=0), as the peers do, and validates a twentieth as many after
  each; "images kept" is what a person gets from the second epoch on. timm is its dataset, loader with prefetcher, network and
  optimizer in its script's loop, with autocast and channels last. The network alone has its batch on the GPU.
* images/s are wall clock over the second half of the steady seconds; lines come every 10 steps. "GPU busy" is nvidia-smi's
  figure, "CPUs" what all processes used, MB the GPU's memory at the peak.
"""


@dataclass(frozen=True)
class Steady:
    """What a run came to: images/s, seconds to the first line, CPUs in use, MB and share of the GPU; or why there is nothing."""

    images_per_second: float = 0.0
    first_line: float = 0.0
    cpus: float = 0.0
    gpu_mb: float = 0.0
    gpu_busy: float = 0.0
    failed: str = ""


def rate(lines: Sequence[tuple[float, str]], batch: int) -> float:
    """Images/s of the second half of some lines that say `iteration k/n`, epoch after epoch, each with its second."""
    done, before, counted = 0, 0, []
    for at, line in lines:
        if found := re.search(r"iteration (\d+)/(\d+)", line):
            here, last = int(found[1]), int(found[2])
            done += here - before if here > before else here
            before = 0 if here == last else here
            counted.append((at, done))
    if len(counted) < 3:
        return 0.0
    (begin, first), (end, last_done) = counted[len(counted) // 2], counted[-1]
    if end <= begin:
        return 0.0
    return batch * (last_done - first) / (end - begin)


def kernels_of(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ten longest kernels of a trace and the share of the time in which none ran, a line each; none without a GPU."""
    kernels = sorted((event["ts"], event["dur"], event["name"]) for event in events if event.get("cat") == "kernel")
    if not kernels:
        return []
    total: defaultdict[str, float] = defaultdict(float)
    covered, until = 0.0, kernels[0][0]
    for begin, duration, name in kernels:
        total[name] += duration
        covered += max(0.0, begin + duration - max(begin, until))
        until = max(until, begin + duration)
    idle = 1 - covered / (until - kernels[0][0])
    lines = [f"Between its first and its last kernel the GPU did nothing for {idle:.0%} of the time."]
    if idle > MUCH_IDLE:
        lines.append("That is launches and waiting: try DESIGNER_VISION_COMPILE=1, or a larger batch_size.")
    for name, seconds in sorted(total.items(), key=lambda item: -item[1])[:10]:
        lines.append(f"* {seconds / sum(total.values()):.0%} {name[:100]}")
    return lines


def bound(name: str) -> float | None:
    """Images/s of ResNet-50 that a GPU's memory or multipliers allow at most, by its name; None for one that is not known."""
    known = [kind for kind in PEAKS if re.search(rf"\b{kind}\b", name)]
    if not known:
        return None
    flops, memory = PEAKS[known[0]]
    return min(flops * 1e3 / RESNET50_GFLOP, memory * 1e6 / RESNET50_MB)


def advice(cell: str, runs: Mapping[str, Steady]) -> list[str]:
    """What the figures of a cell say, a sentence each."""
    ours, alone = runs.get("ours", Steady()).images_per_second, runs.get("network alone", Steady()).images_per_second
    kept, compiled = (runs.get(name, Steady()).images_per_second for name in ("ours, images kept", "ours, compiled"))
    said = []
    if ours and alone and ours < (1 - MUCH_WAITING) * alone:
        if kept > (1 + MUCH_WAITING) * ours:
            said.append(
                "decoding is the wall: more CPUs a GPU, or smaller images from Apply; from the second epoch on kept images help"
            )
        else:
            said.append(f"ours is {ours / alone:.0%} of the network alone and decoding is not why: look at the trace")
    if compiled > 1.05 * ours > 0:
        said.append(f"DESIGNER_VISION_COMPILE=1 is {compiled / ours:.2f} times as fast")
    return [f"* {cell}: {sentence}." for sentence in said]


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a contender."""
    columns = (
        "cell",
        "contender",
        "images/s",
        "x timm best",
        "x network alone",
        "first line after s",
        "CPUs",
        "GPU MB",
        "GPU busy",
    )
    text = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    for cell in CELLS:
        runs = {result["contender"]: Steady(**result["run"]) for result in results if result["cell"] == cell}
        for name in [name for name in CONTENDERS if name in runs]:
            run = runs[name]
            if run.failed:
                text += f"| {cell} | {name} | {run.failed} |{' |' * (len(columns) - 3)}\n"
                continue
            others = [runs.get(other, Steady()).images_per_second for other in ("timm, best flags", "network alone")]
            ratios = [f"{run.images_per_second / other:.2f}" if other else "" for other in others]
            figures = f"{run.first_line:.0f} | {run.cpus:.1f} | {run.gpu_mb:.0f} | {run.gpu_busy:.0%}"
            text += f"| {cell} | {name} | {run.images_per_second:.0f} | {' | '.join(ratios)} | {figures} |\n"
    return text


def page(results: Sequence[Mapping[str, Any]], profile: Sequence[str], gpu: str, missing: int) -> str:
    """The whole page."""
    parts = [f"# Images a second of training on {gpu}\n", table(results)]
    if (limit := bound(gpu)) is not None:
        parts.append(f"By [arithmetic](gpu_arithmetic.md) ResNet-50 is bound at {limit:,.0f} images/s there.\n")
    if missing:
        parts.append(f"{missing} runs are still missing; the same command goes on.\n")
    said = [line for cell in CELLS for line in advice(cell, {result["contender"]: Steady(**result["run"]) for result in results
                                                          if result["cell"] == cell})]  # fmt: skip
    parts += [
        "## What to do about it\n",
        "\n".join(said) or "Nothing stands out.",
        "\n## A traced training\n",
        "\n".join(profile),
        "",
        EXPLANATION,
    ]
    return "\n".join(parts)
