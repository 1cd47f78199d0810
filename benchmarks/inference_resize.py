"""What a network that was trained on random crops should see of a photo when it is measured: 7/8 of its side, or nearly all.

    python benchmarks/inference_resize.py FOLDER/sets > benchmarks/DATE_inference_resize.md

FOLDER/sets is what image_sets.py makes. One training each of choices.py's small network, by what ours does by default, on random
crops of 7/8 of the side (as 224 of 256); its last epoch is measured with photos resized to each of some sides and cropped in the
middle. Nothing is chosen on what is held out: all sides are reported.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from choices import BATCH, EPOCHS, NOW, RATE, SEEDS, SETS, Half, Part, autocast, optimizer_of, parts, rate_at, read, top1_and_loss
from choices import Run as Training
from measure import folded, hardware, say
from torch import nn
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2.functional import center_crop, resize

from designer_vision.data.epoch_order import batches
from designer_vision.training.optimizer import centralize_gradients

SHARES = {"8/7 (now)": 8 / 7, "1.07": 1.07, "232/224": 232 / 224, "1 (the whole)": 1.0}
"""The shorter side of a photo that is measured, in sides of the crop."""


def trained(run: Training, training: Part, classes: int, side: int) -> Half:
    """The network after the last epoch."""
    torch.manual_seed(run.seed)
    network = Half(classes).to(memory_format=torch.channels_last)
    optimizer = optimizer_of(network, run.choice, run.rate)
    crop = RandomResizedCrop(side, (0.4, 1), antialias=True)
    steps, step = run.epochs * len(batches(np.arange(len(training.labels)), BATCH)), 0
    network.train()
    for epoch in range(1, run.epochs + 1):
        for rows in batches(np.random.default_rng((run.seed, epoch)).permutation(len(training.labels)), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, steps, run) * group["lr_scale"]
            images = torch.stack([crop(image) for image in training.images[rows]]).contiguous(memory_format=torch.channels_last)
            with autocast():
                logits = network(images)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), training.labels[rows]).backward()
            centralize_gradients(optimizer)
            optimizer.step()
            step += 1
    return network


def seen(part: Part, side: int, share: float) -> Part:
    """Images resized to a share of the crop's side, and cropped in the middle."""
    images = center_crop(resize(part.images, [round(side * share)] * 2, antialias=True), [side, side])
    return Part(images.contiguous(memory_format=torch.channels_last), part.labels)


def main(sets: Path) -> None:
    torch.set_num_threads(2)
    lines = []
    for seed in SEEDS:
        for name, images in SETS.items():
            training, _, held_out = parts(sets / name, images, seed)
            side = training.images.shape[-1] * 7 // 8
            run = Training("now", NOW, name, images, EPOCHS, RATE, seed)
            network = trained(run, training, len(read(sets / name)[1].unique()), side)
            found = {share: top1_and_loss(network, seen(held_out, side, value))[0] for share, value in SHARES.items()}
            lines.append({"set": name, "seed": seed, "top1": found})
            say(json.dumps(lines[-1]))
    print(page(lines))


def page(lines: list[dict]) -> str:
    first = next(iter(SHARES))

    def row(share: str) -> str:
        by_set = [statistics.mean(100 * line["top1"][share] for line in lines if line["set"] == name) for name in SETS]
        differences = [100 * (line["top1"][share] - line["top1"][first]) for line in lines]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        difference = "" if share == first else f"{statistics.mean(differences):+.1f} ± {error:.1f}"
        return f"| {share} | {' | '.join(f'{mean:.1f}' for mean in by_set)} | {difference} |"

    rows = "\n".join(map(row, SHARES))
    return f"""# The side that photos are resized to before a network is measured

Top-1 in percent on images held out, of choices.py's small network after {EPOCHS} epochs on random crops (40 to 100 % of the area)
of 7/8 of the side; photos are resized to this many sides of the crop and cropped in the middle. Paired by set and seed,
{len(lines)} trainings.

| resized to | {" | ".join(SETS)} | difference |
|---|---|---|---|---|
{rows}

* Command: `python benchmarks/inference_resize.py FOLDER/sets`
{hardware(("torch", "torchvision"))}
{folded([json.dumps(line) for line in lines])}"""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
