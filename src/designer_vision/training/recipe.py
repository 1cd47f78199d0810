"""What a training is done with, besides the parameters: the hardware of a process, and what follows from network and images."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import nn

from designer_vision.data.transforms import Normalize


@dataclass(frozen=True)
class Hardware:
    """What one process computes with.

    Attributes:
        device: its GPU, or the CPU.
        precision: the number format of the network's multiplications.
        workers: data workers of this process; 0 decodes in the process itself.
        patience: how long a data worker may take for a batch.
        compiled: whether the network is compiled, where that works.
    """

    device: torch.device
    precision: torch.dtype
    workers: int
    patience: timedelta = timedelta(minutes=5)
    compiled: bool = False


@dataclass(frozen=True)
class Recipe:
    """What follows from the network and the images, not from the parameters.

    Attributes:
        normalize: what the network expects to be done to its RGB input.
        new_head: the network's last layer, where it begins from nothing and the others have learned before.
        class_weights: of each class in the loss, 1 on average over the images; empty where all count alike.
    """

    normalize: Normalize
    new_head: nn.Module | None = None
    class_weights: tuple[float, ...] = ()
