"""torchvision's networks by name, and the heads that fit them to a number of classes."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pickle import UnpicklingError

import torch
import torchvision
from torch import Tensor, nn

from designer_vision.networks.architectures import DENSENET, RESNET, Architecture
from designer_vision.runtime.errors import PretrainedWeightsError

IMAGENET_CLASSES = 1000
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN_MEAN, PLAIN_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WEIGHTS = "IMAGENET1K_V1"
"""The weights that the classic module fetched; V2 of some networks scores higher but wants another resize."""

BATCH_NORM_MOMENTUM = 0.1
SECOND_HEAD = "out_linear_model"
SECONDS_WITHOUT_AN_ANSWER = 20


class Head(nn.Linear):
    """A last layer that computes in float32 under autocast too: in bfloat16 many of 1,000 logits would be equal."""

    @classmethod
    def of(cls, layer: nn.Linear) -> Head:
        """One with the weights of another layer."""
        with torch.device("meta"):
            new = cls(layer.in_features, layer.out_features)
        assert layer.bias is not None
        new.weight, new.bias = layer.weight, layer.bias
        return new

    def forward(self, input: Tensor) -> Tensor:
        """Features [n, in] in any format to float32 logits [n, out]."""
        if input.is_meta:  # which autocast does not know
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def build(architecture: Architecture, num_classes: int, seed: int | None = None) -> nn.Module:
    """A torchvision network with a head for `num_classes`, its initial weights drawn from `seed`.

    The global random state is left as it was. Without a seed the weights are arbitrary, for loading over them.
    """
    own: dict[str, bool] = {}
    if architecture.family is RESNET:
        own["zero_init_residual"] = architecture.zero_init_residual
    if architecture.family is DENSENET:
        own["memory_efficient"] = architecture.memory_efficient
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        network: nn.Module = torchvision.models.get_model(architecture.model_name, weights=None, num_classes=num_classes, **own)
    path = architecture.family.head
    layer = network.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    network.set_submodule(path, Head.of(layer))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # MobileNetV3's 0.01 averages over more steps than a short training has
            module.momentum = BATCH_NORM_MOMENTUM
    return network


def on_meta(architecture: Architecture, num_classes: int) -> nn.Module:
    """The same without memory for its weights."""
    try:
        with torch.device("meta"):
            return build(architecture, num_classes)
    except NotImplementedError:  # RegNet computes its widths by tensors
        return build(architecture, num_classes).to("meta")


def refusal_of(architecture: Architecture, num_classes: int, batch: int, size: tuple[int, int], training: bool) -> str:
    """Why the network cannot take a batch of images of a height and width; empty if it can.

    It is shown one on the meta device, which costs no memory and no computation.
    """
    network = on_meta(architecture, num_classes).train(training)
    try:
        network(torch.empty(batch, 3, *size, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        return " ".join(str(error).split())[:200]
    return ""


def head(network: nn.Module) -> Head:
    """The last layer of a network that `build` made."""
    return next(layer for layer in network.modules() if isinstance(layer, Head))


def replace_head(network: nn.Module, num_classes: int) -> None:
    """Put a new last layer for `num_classes` in place, of zeros: all classes are equally probable.

    Random weights would send random gradients through the layers that have learned before.
    """
    path = next(name for name, layer in network.named_modules() if isinstance(layer, Head))
    layer = Head(head(network).in_features, num_classes)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    network.set_submodule(path, layer)


def second_head(num_classes: int) -> dict[str, Tensor]:
    """The tensors of the second layer that the classic module put behind a pretrained network's head."""
    layer = nn.Linear(IMAGENET_CLASSES, num_classes)
    return {f"{SECOND_HEAD}.{name}": tensor for name, tensor in layer.state_dict().items()}


def fold_heads(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make one head of a classic pretrained model's two.

    The classic module put a second linear layer behind ImageNet's head, with nothing between them, so their product
    computes the same: W = W2 W1, b = W2 b1 + b2.
    """
    folded = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{SECOND_HEAD}.")}
    if f"{SECOND_HEAD}.weight" not in weights:
        return folded
    first = "fc" if "fc.weight" in weights else "classifier"
    outer = weights[f"{SECOND_HEAD}.weight"].double()
    folded[f"{first}.weight"] = (outer @ weights[f"{first}.weight"].double()).float()
    folded[f"{first}.bias"] = (outer @ weights[f"{first}.bias"].double() + weights[f"{SECOND_HEAD}.bias"]).float()
    return folded


def fetch_pretrained(model_name: str) -> dict[str, Tensor]:
    """ImageNet weights by torchvision's own download, or from its cache below TORCH_HOME.

    Raises:
        PretrainedWeightsError: neither has them; the message says which file to put where.
    """
    weights = torchvision.models.get_model_weights(model_name)[WEIGHTS]
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_AN_ANSWER)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        if model_name in DENSENET.names:  # whose files have the keys of an old version: norm.1 for norm1
            state = {re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", name): tensor for name, tensor in state.items()}
        network = build(Architecture(model_name), IMAGENET_CLASSES)
        network.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, KeyError, AttributeError, UnpicklingError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PretrainedWeightsError(
            f"the pretrained weights of {model_name} could not be fetched ({reason}); download {weights.url} elsewhere "
            f"and put it into {folder} (TORCH_HOME moves that folder), or start without them: pretrained False, or "
            "`designer-vision train FOLDER --from scratch`"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return network.state_dict()  # ViT's file, too, has keys of an old version, which the network knows
