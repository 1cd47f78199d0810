"""Counts of what a network got right: summed on the device, divided once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LOSS, TOP1, TOP5, SEEN = range(4)


def new_totals(device: torch.device) -> Tensor:
    """Zero for the sums of loss, top-1 hits, top-5 hits, and images seen: float64 [4]."""
    return torch.zeros(4, dtype=torch.float64, device=device)


def add_to_totals(totals: Tensor, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
    """Add one batch, without reading anything back from the device.

    Args:
        totals: as `new_totals` gives them; changed in place.
        logits: float [n, classes].
        labels: int64 [n].
        loss: of the batch, as `loss_function` gives it.
    """
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    seen = torch.full((), len(labels), dtype=totals.dtype, device=totals.device)  # torch.tensor would wait for the GPU
    totals += torch.stack([loss.double() * seen, top[:, 0].sum().double(), top.sum().double(), seen])


@dataclass(frozen=True)
class Averages:
    """Means over the images of an epoch or a stretch of it.

    Attributes:
        loss: mean cross-entropy, with the classes' weights where there are some.
        top1, top5: fraction of images whose label is the first, or among the first five.
        seen: how many images.
    """

    loss: float
    top1: float
    top5: float
    seen: int

    @property
    def error(self) -> float:
        return 1 - self.top1


def averages(totals: Tensor) -> Averages:
    """Divide sums over all ranks by the number of images; this reads from the device."""
    loss, top1, top5, seen = totals.tolist()
    return Averages(loss / seen, top1 / seen, top5 / seen, round(seen))


def loss_function(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of a batch, a scalar; with weights [classes], of each image's loss times its class's weight.

    It is divided by the number of images, not by the sum of their weights: only then is the mean over ranks that of their images.
    """
    if class_weights is None:
        return nn.functional.cross_entropy(logits, labels)
    return nn.functional.cross_entropy(logits, labels, class_weights, reduction="sum") / len(labels)
