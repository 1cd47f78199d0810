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
