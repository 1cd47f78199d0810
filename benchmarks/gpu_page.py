"""What benchmarks/gpu.py makes of lines, traces and figures: pure functions, and the page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CELLS = ("resnet50:64", "resnet18:16", "resnet50:256", "resnet18:256", "densenet121:64", "resnet50:16", "resnet18:64",
         "densenet121:16", "densenet121:256")  # fmt: skip
CONTENDERS = ("network alone", "ours", "timm, best flags", "ours, compiled", "ours, images kept", "timm, compiled",
              "network alone, compiled", "plain script", "ours, all GPUs")  # fmt: skip
TELLING = CONTENDERS[:4]
"""What every cell is measured with before the others are: the first is what the others are held against."""
OUT_OF_MEMORY = "out of memory"
MUCH_WAITING, MUCH_IDLE, FASTER = 0.1, 0.2, 1.05
STEP = {"resnet18": (10.9, 104), "resnet50": (24.5, 467)}
"""GFLOP of a training step and MB of activations, an image: gpu_arithmetic.md. DenseNet reads its activations more often."""
PEAKS = {
    "T4": (65, 0.32), "A10": (125, 0.6), "A100": (312, 1.56), "A100.*80GB": (312, 2.04), "H100": (989, 3.35),
    "H100 PCIe": (756, 2.0), "H200": (989, 4.8),
}  # fmt: skip
"""TFLOP/s of dense 16-bit products and TB/s of memory, from NVIDIA's data sheets; of what fits a name, the last."""
COLUMNS = ("cell", "contender", "images/s", "x timm best", "x network alone", "of the bound", "waiting", "first line after s",
           "CPUs", "GPU MB", "GPU busy")  # fmt: skip
EXPLANATION = """\
* Everyone reads the same JPEG photos of about 500 x 375 from the page cache, takes a random resized crop of 224 x 224 and flips
  it, and trains from scratch with SGD, with a data worker a CPU, 16 at most (ours: fewer where shared memory is short). An epoch
  has each photo several times, under as many names, so that it takes 20 s at the speed of the network alone.
* ours decodes every image (DESIGNER_VISION_CACHE_MB=0), as the peers do. "images kept" is what a person gets from the second
  epoch on, with the validation and the other ends of short epochs. timm is its dataset, loader with prefetcher, network and
  optimizer in its script's loop, with autocast, channels last and cuDNN's benchmark mode. The plain script is float32. The
  network alone has one batch, on the GPU.
* images/s are wall clock over the second half of a run's steady time; lines come every 640 images or so. "waiting" is the share
  of the time in which the main process had no images to go on with: of ours in its whole epochs, their beginning included, of the
  others in that second half. "of the bound" is the share of what the GPU's memory or multipliers allow by
  [arithmetic](gpu_arithmetic.md). "CPUs" are those that the run's processes used, MB the first GPU's memory at the peak, "GPU
  busy" nvidia-smi's figure for it.
"""


@dataclass(frozen=True)
class Steady:
    """What a run came to, or why there is nothing.

    Attributes:
        images_per_second: of all its GPUs.
        first_line: seconds from the start to the first line of steps.
        cpus: in use.
        gpu_mb, gpu_busy: memory and share of the time of the first GPU.
        waiting: share of the time without images; None where nobody could tell.
        failed: why there is nothing else.
    """

    images_per_second: float = 0.0
    first_line: float = 0.0
    cpus: float = 0.0
    gpu_mb: float = 0.0
    gpu_busy: float = 0.0
    waiting: float | None = None
    failed: str = ""


Line = tuple[float, str]
"""What a process printed, and the second when it came."""


def order(cells: Sequence[str], contenders: Sequence[str]) -> list[tuple[str, str]]:
    """All runs: the first cell's, then the most telling ones of every cell, then the others."""
    telling = [name for name in contenders if name in TELLING]
    first = [(cell, name) for cell in cells[:1] for name in contenders]
    return list(dict.fromkeys([*first, *((cell, name) for names in (telling, contenders) for cell in cells for name in names)]))


def rate(lines: Sequence[Line], batch: int) -> float:
    """Images/s of the second half of some lines that say `iteration k/n`, epoch after epoch."""
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


def waiting_of(lines: Sequence[Line]) -> float | None:
    """The share of the second half of some lines that went by waiting, where they say `waited SECONDS` since the start."""
    told = [(at, float(found[1])) for at, line in lines if (found := re.search(r"waited ([\d.]+)", line))]
    if len(told) < 3:
        return None
    (begin, before), (end, after) = told[len(told) // 2], told[-1]
    return (after - before) / (end - begin) if end > begin else None


def reason_of(lines: Sequence[Line]) -> str:
    """Why a run failed, by the last that it said."""
    said = [line for _, line in lines if line.strip()][-30:]
    if any("out of memory" in line.lower() or "ModuleOutOfMemoryError" in line for line in said):
        return OUT_OF_MEMORY
    return said[-1].replace("|", "/")[:200] if said else "it said nothing"


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
    idle = 1 - covered / max(until - kernels[0][0], 1e-9)
    lines = [f"Between its first and its last kernel the GPU did nothing for {idle:.0%} of the time."]
    if idle > MUCH_IDLE:
        lines.append("That is launches and waiting: try DESIGNER_VISION_COMPILE=1, or a larger batch_size.")
    lines.append("")
    for name, duration in sorted(total.items(), key=lambda item: -item[1])[:10]:
        lines.append(f"* {duration / sum(total.values()):.0%} `{name[:100]}`")
    return lines


def bound(gpu: str, network: str) -> float | None:
    """Images/s that a GPU's memory or multipliers allow at most; None where its name or the network tells too little."""
    known = [peaks for kind, peaks in PEAKS.items() if re.search(rf"\b{kind}\b", gpu)]
    if not known or "MIG" in gpu or network not in STEP:
        return None
    (flops, memory), (gigaflop, megabytes) = known[-1], STEP[network]
    return min(flops * 1e3 / gigaflop, memory * 1e6 / megabytes)


def advice(cell: str, runs: Mapping[str, Steady]) -> list[str]:
    """What the figures of a cell say, and what to do about it, a sentence each."""
    speed = {name: run.images_per_second for name, run in runs.items()}
    ours, alone, timm = (speed.get(name, 0.0) for name in ("ours", "network alone", "timm, best flags"))
    said = []
    if ours and (waiting := runs["ours"].waiting) is not None and waiting > MUCH_WAITING:
        sentence = f"{waiting:.0%} of the time goes by waiting for images: more CPUs a GPU, or smaller images from Apply"
        if (kept := speed.get("ours, images kept", 0.0)) > FASTER * ours:
            sentence += f"; once images are kept, from the second epoch on, it is {kept / ours:.2f} times as fast"
        said.append(sentence)
    elif ours and ours < (1 - MUCH_WAITING) * alone:
        said.append(f"ours is {ours / alone:.0%} of the network alone and little waiting is seen: look at the trace")
    if speed.get("ours, compiled", 0.0) > FASTER * ours > 0:
        said.append(f"DESIGNER_VISION_COMPILE=1 is {speed['ours, compiled'] / ours:.2f} times as fast")
    if timm > FASTER * ours > 0:
        said.append(f"timm is {timm / ours:.2f} times as fast: that is a defect of ours")
    said += [
        f"{name}: out of memory, a smaller batch_size is needed" for name, run in runs.items() if run.failed == OUT_OF_MEMORY
    ]
    return [f"* {cell}: {sentence}." for sentence in said]


def table(results: Sequence[Mapping[str, Any]], gpu: str) -> str:
    """Markdown: a row a contender; what is not known is empty."""
    text = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
    for cell in CELLS:
        runs = runs_of(results, cell)
        limit = bound(gpu, cell.partition(":")[0])
        for name in [name for name in CONTENDERS if name in runs]:
            run = runs[name]
            if run.failed:
                text += f"| {cell} | {name} | {run.failed} |{' |' * (len(COLUMNS) - 3)}\n"
                continue
            others = [runs.get(other, Steady()).images_per_second for other in ("timm, best flags", "network alone")]
            ratios = [f"{run.images_per_second / other:.2f}" if other else "" for other in others]
            share = f"{run.images_per_second / limit:.0%}" if limit and name not in ("plain script", "ours, all GPUs") else ""
            waiting = "" if run.waiting is None else f"{run.waiting:.0%}"
            gpu_used = f"{run.gpu_mb:.0f} | {run.gpu_busy:.0%}" if run.gpu_mb else " | "
            figures = f"{share} | {waiting} | {run.first_line:.0f} | {run.cpus:.1f} | {gpu_used}"
            text += f"| {cell} | {name} | {run.images_per_second:.0f} | {' | '.join(ratios)} | {figures} |\n"
    return text


def runs_of(results: Sequence[Mapping[str, Any]], cell: str) -> dict[str, Steady]:
    """The runs of a cell, by contender."""
    return {result["contender"]: Steady(**result["run"]) for result in results if result["cell"] == cell and "run" in result}


def is_done(result: Mapping[str, Any]) -> bool:
    """Whether a run need not be made again: it has figures, or memory was short, which it will be again."""
    return not result.get("failed") and result.get("run", {}).get("failed", "") in ("", OUT_OF_MEMORY)


def page(results: Sequence[Mapping[str, Any]], profile: Sequence[str], gpu: str, missing: int) -> str:
    """The whole page, but for what it was measured on."""
    parts = [f"# Images a second of training on {gpu}\n", table(results, gpu)]
    limits = {network: limit for network in STEP if (limit := bound(gpu, network)) is not None}
    if limits:
        told = ", ".join(f"{network} at {limit:,.0f} images/s" for network, limit in limits.items())
        parts.append(f"Bound there by [arithmetic](gpu_arithmetic.md): {told}.\n")
    if missing:
        parts.append(f"{missing} runs are still missing; the same command goes on.\n")
    said = [line for cell in CELLS for line in advice(cell, runs_of(results, cell))]
    parts += ["## What to do about it\n", "\n".join(said) or "Nothing stands out.", "\n## A traced training\n"]
    return "\n".join([*parts, "\n".join(profile) or "Not made yet.", "\n## What was measured\n", EXPLANATION])
