"""Plain torch and timm, as their users train, for accuracy.py.

    python accuracy_peer.py FOLDER ENDS CELLS       appends a line a cell to FOLDER/results.jsonl, until the time ENDS
    python accuracy_peer.py FOLDER source SET       writes FOLDER/sources/SET.pt, a network to fine-tune

plain: torchvision's ResNet-18, SGD with Nesterov momentum 0.9 and weight decay 1e-4, a cosine to zero by the step, no
random operation. timm: its own ResNet-18 with its initial weights, its SGD with weight decay 2e-5, label smoothing 0.1, an
epoch of warm-up and a cosine, as its script has them; mild is a crop of 70 to 100 % and a flip, default its script's crop
of 8 to 100 %, flip and colour jitter of 0.4. Both keep the epoch with the best validation top-1, compute in the number format
that DESIGNER_VISION_PRECISION names, and have all images in memory.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

Part = tuple[Tensor, Tensor]
Augment = Callable[[Tensor], Tensor]


def read(folder: Path, classes: dict[str, int]) -> Part:
    """Uint8 [n, 3, height, width] and int64 [n], with the numbers of the training classes."""
    found = ImageFolder(str(folder))
    images = torch.stack([pil_to_tensor(image.convert("RGB")) for image, _ in found])
    return images, torch.tensor([classes.get(found.classes[label], -1) for label in found.targets])


def as_input(images: Tensor) -> Tensor:
    return images.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def autocast() -> torch.autocast:
    """Bfloat16 where that is what everything is measured in, else float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=os.environ["DESIGNER_VISION_PRECISION"] == "bfloat16")


def measured(network: nn.Module, part: Part) -> tuple[float, float]:
    """Top-1 and loss."""
    network.eval()
    with torch.inference_mode(), autocast():
        logits = torch.cat([network(as_input(some)).float() for some in part[0].split(64)])
    known = part[1] >= 0
    return float((logits.argmax(1) == part[1]).float().mean()), float(nn.functional.cross_entropy(logits[known], part[1][known]))


def augmentation(program: str, side: int, flips: bool) -> Augment | None:
    if program == "plain":
        return None
    if program == "timm mild":
        steps: list[nn.Module] = [v2.RandomResizedCrop(side, (0.7, 1), (0.9, 1.1), antialias=True)]
    else:
        steps = [v2.RandomResizedCrop(side, (0.08, 1), antialias=True)]
    steps += [v2.RandomHorizontalFlip()] if flips else []
    steps += [v2.ColorJitter(0.4, 0.4, 0.4)] if program == "timm default" else []
    return v2.Compose(steps)


def network_of(program: str, classes: int, source: Path | None) -> nn.Module:
    if program == "plain":
        network: nn.Module = resnet18(num_classes=classes)
    else:
        import timm

        network = timm.create_model("resnet18", num_classes=classes)
    if source:  # both name their layers alike
        weights = torch.load(source)
        own = network.state_dict()
        network.load_state_dict({name: tensor if name.startswith("fc.") else weights[name] for name, tensor in own.items()})
    return network.to(memory_format=torch.channels_last)


def train(
    network: nn.Module, training: Part, epochs: int, rate: float, seed: int, batch: int, augment: Augment | None, timm_like: bool
) -> Iterator[int]:
    """Train, and pause after each epoch with its number."""
    if timm_like:
        from timm.optim import create_optimizer_v2

        optimizer = create_optimizer_v2(network, opt="sgd", lr=rate, momentum=0.9, weight_decay=2e-5)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=1e-4)
    count = math.ceil(len(training[0]) / batch)
    steps, warm, step = epochs * count, count if timm_like else 0, 0
    for epoch in range(1, epochs + 1):
        network.train()
        order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(len(training[0])))
        for rows in order.tensor_split(count):
            for group in optimizer.param_groups:
                after = (step - warm) / max(1, steps - warm)
                group["lr"] = rate * ((step + 1) / (warm + 1) if step < warm else (1 + math.cos(math.pi * after)) / 2)
            images = training[0][rows]
            if augment is not None:
                images = torch.stack([augment(image) for image in images])
            with autocast():
                logits = network(as_input(images))
            loss = nn.functional.cross_entropy(logits.float(), training[1][rows], label_smoothing=0.1 if timm_like else 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        yield epoch


def cell_result(cell: dict[str, Any], split: Path, folder: Path) -> dict[str, Any]:
    names = sorted(path.name for path in (split / "train").iterdir())
    classes = {name: number for number, name in enumerate(names)}
    training, validation, held_out = (read(split / part, classes) for part in ("train", "validate", "hold_out"))
    torch.manual_seed(cell["seed"])
    source = folder / "sources" / f"{cell['source']}.pt" if cell["source"] else None
    network = network_of(cell["program"], len(names), source)
    augment = augmentation(cell["program"], training[0].shape[-1], cell["set"] != "digits")
    began = time.perf_counter()
    best, weights = (-1.0, 0.0), {}
    is_timm = cell["program"].startswith("timm")
    for _ in train(network, training, cell["epochs"], cell["rate"], cell["seed"], 16, augment, is_timm):
        top1, loss = measured(network, validation)
        if (top1, -loss) > best:
            best, weights = (top1, -loss), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    seconds = time.perf_counter() - began
    network.load_state_dict(weights)
    return {"top1": measured(network, held_out)[0], "validation": best[0], "seconds": round(seconds, 2)}


def write_source(folder: Path, name: str) -> None:
    """A network trained on a whole set, at most 6,000 images, with a crop and a flip."""
    path = folder / "sources" / f"{name}.pt"
    if path.exists():
        return
    torch.set_num_threads(2)
    torch.manual_seed(0)
    classes = {place.name: number for number, place in enumerate(sorted((folder / "sets" / name).iterdir()))}
    images, labels = read(folder / "sets" / name, classes)
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(images))[:6000])
    network = network_of("plain", len(classes), None)
    epochs = max(3, round(20_000 / len(rows)))
    crop = v2.Compose([v2.RandomResizedCrop(images.shape[-1], (0.4, 1), antialias=True), v2.RandomHorizontalFlip()])
    for epoch in train(network, (images[rows], labels[rows]), epochs, 0.04, 0, 32, crop, False):
        print(f"{name}: epoch {epoch} of {epochs}", file=sys.stderr, flush=True)
    path.parent.mkdir(exist_ok=True)
    torch.save(network.state_dict(), path)


def main(folder: Path, ends: float, cells: list[dict[str, Any]]) -> None:
    os.sched_setaffinity(0, {int(os.environ["ON_CPU"])})
    torch.set_num_threads(1)
    for given in cells:
        if time.time() > ends:
            return
        result = {"cell": given["cell"], **cell_result(given["cell"], Path(given["split"]), folder)}
        result["precision"] = os.environ["DESIGNER_VISION_PRECISION"]
        with (folder / "results.jsonl").open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    if sys.argv[2] == "source":
        write_source(Path(sys.argv[1]), sys.argv[3])
    else:
        main(Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3]))
