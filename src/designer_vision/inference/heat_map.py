"""Where in an image a network found what speaks for a label, for people to look at.

Networks that end in a grid of features (convolutional ones, and Swin) get Grad-CAM: Selvaraju et al., "Grad-CAM: Visual
Explanations from Deep Networks via Gradient-based Localization", ICCV 2017. Its variants that count positive gradients only
(Grad-CAM++, LayerCAM) find things, but of two things in an image not the one that speaks for the label.

Networks of attention (ViT) get the rollout of their attention, each layer's weighted by its gradient: Chefer et al., "Generic
Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers", ICCV 2021, equations 5 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer_vision.data.images import Pixels
from designer_vision.data.read_ahead import reading
from designer_vision.data.transforms import Normalize, Size
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.model_directory import Model
from designer_vision.inference.scoring import fit_for, pixels_of
from designer_vision.runtime.errors import InvalidDatasetError

LEAST_CELLS = 7
"""Of the shorter side of a grid: what 224 pixels leave at the end of these networks. Of smaller images an earlier layer is taken,
where a map of the last one would be a blot (64 pixels leave 2)."""

HeatMap = npt.NDArray[np.float32]
"""[height, width] of an image, from 0 to 1."""
Axes = tuple[int, int]
Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


@dataclass(frozen=True)
class Seen:
    """An image as its network sees it.

    Attributes:
        pixels: after resize and crop, uint8 [height, width, 3].
        heat: where it speaks for a label, of the same height and width.
        label: that is the most probable.
    """

    pixels: Pixels
    heat: HeatMap
    label: str


def look(model: Model, index: ImageIndex, labels: Sequence[tuple[int, str]], device: torch.device) -> Iterator[Seen | None]:
    """Show a network some images once more, one at a time, so that memory holds one.

    Args:
        model: as `read_trained_model` gives it.
        index: the images.
        labels: rows of the images, and which of the model's labels each shall be looked at for.
        device: where the network computes.

    Yields:
        One for each row; None for an image that cannot be read, or does not fit.
    """
    network = model.network().eval().requires_grad_(False).to(device)
    normalize = Normalize(model.mean, model.std).to(device)
    fit = fit_for(model, None if model.size else index.known_sizes(strict=False))
    numbers = {label: number for number, label in enumerate(model.labels)}
    with reading(index, [row for row, _ in labels]) as read:
        for row, label in labels:
            try:
                pixels = pixels_of(read(row), str(index.path(row)), fit)
            except InvalidDatasetError:
                yield None
                continue
            image = normalize(pixels[None].to(device))[0]
            heat, logits = heat_map(network, image, numbers[label])
            yield Seen(pixels.permute(1, 2, 0).numpy(), heat, model.labels[int(logits.argmax())])


def heat_map(network: nn.Module, image: Tensor, label: int) -> tuple[HeatMap, Tensor]:
    """Where an image speaks for a label, by the gradient of that label's output.

    The network is left as it was.

    Args:
        network: one of torchvision's classifiers, in evaluation mode, its parameters without gradients: only the image's count.
        image: as the network takes it, float32 [3, height, width], on the network's device.
        label: number of the output.

    Returns:
        The map, of the image's height and width and all 0 where nothing speaks for the label; and the network's output [labels].
    """
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    layers = [module for module in network.modules() if isinstance(module, nn.MultiheadAttention)]
    size: Size = (int(image.shape[-2]), int(image.shape[-1]))
    with torch.enable_grad():
        batch = image.detach()[None].requires_grad_()
        found, logits = _attention(network, layers, batch, label) if layers else _grad_cam(network, batch, label)
    smooth = functional.interpolate(found[None, None], size, mode="bilinear")[0, 0]
    from_zero = smooth - smooth.min()
    heat: HeatMap = (from_zero / from_zero.max().clamp_min(torch.finfo(torch.float32).tiny)).cpu().numpy()
    return heat, logits.detach()[0]


@contextmanager
def _hooked(layers: Sequence[nn.Module], hook: Hook) -> Iterator[None]:
    """Have a hook told what some layers take and give, in the order in which they compute."""
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# A grid of features


def _grad_cam(network: nn.Module, batch: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """The last grid's channels, each weighted by its mean gradient, [rows, columns] of the grid; and the output [1, labels]."""
    logits, features, axes = last_grid(network, batch)
    (gradient,) = torch.autograd.grad(logits[0, label], features)
    (channels,) = {1, 2, 3} - {*axes}
    return (gradient.mean(axes, keepdim=True) * features.detach()).sum(channels)[0].relu(), logits


def last_grid(network: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor, Axes]:
    """The last features of one image that are a grid of LEAST_CELLS, or else of the most: what is pooled, of large images.

    Returns:
        The network's output [1, labels], the features, and which of their axes are rows and columns.
    """
    grids: dict[Size, tuple[Tensor, Axes]] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and (axes := _axes_of(output, batch)):
            size = (output.shape[axes[0]], output.shape[axes[1]])
            grids.pop(size, None)  # so that the last one to compute stands last
            grids[size] = output, axes

    with _hooked(list(network.modules()), note):
        logits = network(batch)
    enough = [size for size in grids if min(size) >= LEAST_CELLS]
    return logits, *grids[enough[-1] if enough else max(grids, key=min)]


def _axes_of(features: Tensor, batch: Tensor) -> Axes | None:
    """The axes that are rows and columns: the last two or, as Swin has them, those before the last; None where there are none.

    A grid has the shape of the image, but for the rounding of a cell.
    """
    if features.dim() != 4 or len(features) != 1:
        return None
    height, width = batch.shape[-2:]
    for axes in ((2, 3), (1, 2)):
        rows, columns = (features.shape[axis] for axis in axes)
        if abs(rows * width - columns * height) <= max(height, width):
            return axes
    return None


# Attention


def _attention(network: nn.Module, layers: Sequence[nn.Module], batch: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """What of each patch reaches the class token, through all layers, [rows, columns] of patches; and the output [1, labels]."""
    seen: list[tuple[Any, Tensor, Tensor]] = []
    with _hooked(layers, lambda layer, inputs, output: seen.append((layer, inputs[0], output[0]))):
        logits = network(batch)
    gradients = torch.autograd.grad(logits[0, label], [output for *_, output in seen])
    relevance = torch.eye(seen[0][1].shape[1], device=batch.device)
    with torch.no_grad():
        for (layer, tokens, _), gradient in zip(seen, gradients, strict=True):
            relevance = relevance + _weighted_attention(layer, tokens[0], gradient[0]) @ relevance
    patches = relevance[0, 1:]
    height, width = batch.shape[-2:]
    return patches.reshape(round((len(patches) * height / width) ** 0.5), -1), logits


def _weighted_attention(layer: nn.MultiheadAttention, tokens: Tensor, gradient: Tensor) -> Tensor:
    """The mean over the heads of a layer's attention times its gradient, where that is positive: [tokens, tokens].

    torch's layer keeps neither: both are computed again, from what it took and the gradient of what it gave.
    """
    heads = (layer.num_heads, layer.head_dim)
    projected = functional.linear(tokens, layer.in_proj_weight, layer.in_proj_bias)
    query, key, value = projected.view(-1, 3, *heads).permute(1, 2, 0, 3)
    attention = torch.softmax(query @ key.transpose(1, 2) / layer.head_dim**0.5, dim=2)
    gradient_of_heads = (gradient @ layer.out_proj.weight).view(-1, *heads).transpose(0, 1)
    found: Tensor = (attention * (gradient_of_heads @ value.transpose(1, 2))).relu().mean(dim=0)
    return found
