"""The networks by name and family, without the networks: importing these costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Networks that are built alike.

    Attributes:
        name: what people call it.
        names: torchvision's, of its networks.
        head: where the last layer stands in the network.
        smallest: pixels of the side of the smallest square images that it can be trained on.
        smallest_alone: the same for a batch of one image, of which batch norm needs more than one value a channel.
        only: the side of the only square images that it takes; 0 where it takes many.
        has_layer_norm: whether it normalises each image by itself; such networks are trained by AdamW.

    The sides were found by trying all of them (`builders.refusal_of`), which a test does again.
    """

    name: str
    names: tuple[str, ...]
    head: str
    smallest: int = 1
    smallest_alone: int = 33
    only: int = 0
    has_layer_norm: bool = False


RESNET = Family(
    "ResNet",
    (
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    ),
    "fc",
)  # fmt: skip
DENSENET = Family(
    "DenseNet", ("densenet121", "densenet161", "densenet169", "densenet201"), "classifier", smallest=29, smallest_alone=61
)
FAMILIES = (
    RESNET,
    DENSENET,
    Family(
        "ConvNeXt",
        ("convnext_tiny", "convnext_small", "convnext_base"),
        "classifier.2",
        smallest=32,
        smallest_alone=32,
        has_layer_norm=True,
    ),
    Family("EfficientNetV2", ("efficientnet_v2_s", "efficientnet_v2_m"), "classifier.1"),
    Family("RegNetY", ("regnet_y_400mf", "regnet_y_1_6gf", "regnet_y_8gf"), "fc"),
    Family("MobileNetV3", ("mobilenet_v3_small", "mobilenet_v3_large"), "classifier.3"),
    Family("Swin V2", ("swin_v2_t", "swin_v2_s"), "head", smallest=4, smallest_alone=4, has_layer_norm=True),
    Family("ViT", ("vit_b_16",), "heads.head", smallest=224, smallest_alone=224, only=224, has_layer_norm=True),
)
NETWORKS = tuple(name for family in FAMILIES for name in family.names)


def family_of(model_name: str) -> Family:
    """The family of one of NETWORKS."""
    return next(family for family in FAMILIES if model_name in family.names)


@dataclass(frozen=True)
class Architecture:
    """Which network, without its weights.

    Attributes:
        model_name: one of NETWORKS.
        zero_init_residual: start each residual branch at zero (ResNet only).
        memory_efficient: recompute activations to save memory (DenseNet only).
    """

    model_name: str
    zero_init_residual: bool = False
    memory_efficient: bool = False

    @property
    def family(self) -> Family:
        return family_of(self.model_name)


def smallest_side(model_name: str, batch_size: int) -> int:
    """Pixels of the smallest square images that a network can be trained on."""
    family = family_of(model_name)
    return family.smallest_alone if batch_size == 1 else family.smallest
