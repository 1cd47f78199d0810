"""The names of the networks, without the networks: importing these costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")


@dataclass(frozen=True)
class Architecture:
    """Which network, without its weights.

    Attributes:
        model_name: one of RESNETS or DENSENETS.
        zero_init_residual: start each residual branch at zero (ResNet only).
        memory_efficient: recompute activations to save memory (DenseNet only).
    """

    model_name: str
    zero_init_residual: bool = False
    memory_efficient: bool = False

    @property
    def is_resnet(self) -> bool:
        return self.model_name in RESNETS


def smallest_side(model_name: str, batch_size: int) -> int:
    """Pixels of the smallest square images that a network can be trained on.

    DenseNet's last pooling needs something to pool; batch norm needs more than one value a channel, so that a batch of one image
    has to be larger. Found by trying all of them (`builders.refusal_of`), which a test does again.
    """
    alone = batch_size == 1
    return (61 if alone else 29) if model_name in DENSENETS else (33 if alone else 1)
