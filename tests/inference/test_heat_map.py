"""Heat maps on pictures whose class is decided in a known place, and on each family of networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image_directory
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer
from torchvision.models.resnet import BasicBlock, ResNet

from designer_vision.data.transforms import Operation
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model
from designer_vision.inference.heat_map import LEAST_CELLS, HeatMap, heat_map, last_grid, look
from designer_vision.networks.architectures import FAMILIES, NETWORKS, Architecture
from designer_vision.networks.builders import build, head, on_meta

CPU = torch.device("cpu")
SIDE, PATCH, CELL = 32, 8, 4
"""Pixels of an image, of a patch in it, and of a cell of the networks' grids."""
WITH_GRID = [name for name in NETWORKS if not name.startswith("vit")]
Place = tuple[int, int]


def pictures(count: int, seed: int, patches: int = 1) -> tuple[Tensor, Tensor, list[list[Place]]]:
    """Noise with patches in the colours of different classes, in random places that do not touch.

    Returns:
        Float32 [count, 3, SIDE, SIDE], the classes [count, patches], and the places of their patches.
    """
    generator = np.random.default_rng(seed)
    images = generator.uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32)
    classes, places = np.empty((count, patches), np.int64), []
    cells = SIDE // (2 * PATCH)  # each patch lies somewhere in a square of twice its side
    for image, labels in zip(images, classes, strict=True):
        labels[:] = generator.permutation(3)[:patches]
        squares = generator.permutation(cells * cells)[:patches]
        corners = [tuple(2 * PATCH * np.array(divmod(square, cells)) + generator.integers(0, PATCH + 1, 2)) for square in squares]
        for label, (row, column) in zip(labels, corners, strict=True):
            image[:, row : row + PATCH, column : column + PATCH] *= 0.1
            image[label, row : row + PATCH, column : column + PATCH] += 0.9
        places.append([(int(row), int(column)) for row, column in corners])
    return torch.from_numpy(images), torch.from_numpy(classes), places


def trained(network: nn.Module, steps: int, rate: float) -> nn.Module:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for step in range(steps):
        images, labels, _ = pictures(32, 1000 + step)
        loss = functional.cross_entropy(network(images), labels[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval().requires_grad_(False).zero_grad()
    images, labels, _ = pictures(60, 1)
    assert (network(images).argmax(1) == labels[:, 0]).float().mean() > 0.95
    return network


class Narrow(ResNet):
    """A ResNet of few channels, whose last grid of 32 pixels is 8 x 8."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=3)
        self.inplanes = 16
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2 = self._make_layer(BasicBlock, 16, 1), self._make_layer(BasicBlock, 32, 1)
        self.layer3 = self.layer4 = nn.Identity()
        self.maxpool, self.fc = nn.Identity(), nn.Linear(32, 3)


@pytest.fixture(scope="module", params=["convolutional", "attention"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """One that tells which colour a patch has, trained in seconds."""
    torch.manual_seed(1)
    if request.param == "convolutional":
        return trained(Narrow(), 60, 0.003)
    return trained(VisionTransformer(SIDE, CELL, 2, 2, 32, 64, num_classes=3), 150, 0.003)


def lies_in(heat: HeatMap, place: Place) -> bool:
    """Whether a map is brightest in a patch, give or take half a cell."""
    found = zip(np.unravel_index(heat.argmax(), heat.shape), place, strict=True)
    return all(-CELL / 2 <= pixel - first < PATCH + CELL / 2 for pixel, first in found)


def times_its_share(heat: HeatMap, place: Place) -> float:
    """How much of a map lies in a patch, beside the patch's share of the image."""
    inside = heat[place[0] : place[0] + PATCH, place[1] : place[1] + PATCH]
    return float(inside.mean() / heat.mean())


def test_a_map_is_brightest_in_the_patch_that_decides_the_class_as_no_random_map_is(network: nn.Module) -> None:
    images, labels, places = pictures(40, 2)
    heats = [heat_map(network, image, int(label))[0] for image, (label,) in zip(images, labels, strict=True)]
    assert np.mean([lies_in(heat, place) for heat, (place,) in zip(heats, places, strict=True)]) >= 0.9
    assert np.mean([times_its_share(heat, place) for heat, (place,) in zip(heats, places, strict=True)]) > 2.5
    others = [*heats[1:], heats[0]]  # those of other images are as good as random ones
    assert np.mean([lies_in(heat, place) for heat, (place,) in zip(others, places, strict=True)]) < 0.3


def test_of_two_patches_each_label_has_its_own(network: nn.Module) -> None:
    images, labels, places = pictures(30, 3, patches=2)
    right = [
        times_its_share(heat, places[row][one]) > times_its_share(heat, places[row][1 - one])
        for row, image in enumerate(images)
        for one in (0, 1)
        for heat in [heat_map(network, image, int(labels[row, one]))[0]]
    ]
    assert np.mean(right) >= 0.9


def test_a_map_leaves_the_network_as_it_was(network: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, _, _ = pictures(1, 4)
    expected = network(images)
    heat, logits = heat_map(network, images[0], 0)
    assert (heat.dtype, heat.shape, heat.min(), heat.max()) == (np.float32, (SIDE, SIDE), 0, 1)
    assert torch.allclose(logits, expected[0], atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module.training for module in network.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
    assert not images.requires_grad
    assert torch.equal(network(images), expected)


def test_hooks_are_gone_too_where_an_image_does_not_fit(network: nn.Module) -> None:
    with pytest.raises((RuntimeError, AssertionError)):
        heat_map(network, torch.zeros(4, SIDE, SIDE), 0)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", WITH_GRID)
def test_of_every_network_what_is_pooled_is_found(name: str) -> None:
    network = on_meta(Architecture(name), 7).eval().requires_grad_(False)
    batch = torch.empty(1, 3, 224, 448, device="meta", requires_grad=True)
    pooled = []
    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs: pooled.append(inputs[0].shape))
        for layer in network.modules()
        if isinstance(layer, nn.AdaptiveAvgPool2d)
    ]
    _, features, axes = last_grid(network, batch)
    assert tuple(features.shape[axis] for axis in axes) == (7, 14)
    if handles:  # DenseNet calls a function
        assert features.shape == pooled[-1]
    else:
        assert features.shape[1] == network.get_submodule(Architecture(name).family.head).in_features


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", [family.names[0] for family in FAMILIES if not family.only])
def test_of_small_images_an_earlier_grid_is_taken_that_is_not_a_blot(name: str, side: int) -> None:
    network = on_meta(Architecture(name), 7).eval().requires_grad_(False)
    _, features, axes = last_grid(network, torch.empty(1, 3, side, side, device="meta", requires_grad=True))
    assert [features.shape[axis] for axis in axes] == [LEAST_CELLS + 1] * 2
    (channels,) = {1, 2, 3} - {*axes}
    assert features.shape[channels] > 2 * LEAST_CELLS


@pytest.mark.parametrize(
    ("name", "size"),
    [("densenet121", (64, 48)), ("swin_v2_t", (64, 96)), ("mobilenet_v3_small", (33, 64)), ("vit_b_16", (224, 224))],
)
def test_maps_have_the_shape_of_their_images(name: str, size: tuple[int, int]) -> None:
    network = build(Architecture(name), 3, seed=1).eval().requires_grad_(False)
    nn.init.normal_(head(network).weight, generator=torch.Generator().manual_seed(1))  # ViT's is of zeros
    heat, logits = heat_map(network, torch.rand(3, *size, generator=torch.Generator().manual_seed(1)), 2)
    assert heat.shape == size
    assert logits.shape == (3,)
    assert np.isfinite(heat).all()
    assert heat.max() == 1


def test_where_nothing_speaks_for_a_label_the_map_is_dark(network: nn.Module) -> None:
    parameters = [*network.parameters()]
    kept = [parameter.clone() for parameter in parameters[-2:]]
    for parameter in parameters[-2:]:
        parameter.zero_()
    assert not heat_map(network, pictures(1, 5)[0][0], 0)[0].any()
    for parameter, before in zip(parameters[-2:], kept, strict=True):
        parameter.copy_(before)


# models and folders


def model_of(operations: list[Operation] | None, size: tuple[int, int] | None) -> Model:
    weights = build(Architecture("mobilenet_v3_small"), 3, seed=1).state_dict()
    return Model(Architecture("mobilenet_v3_small"), weights, labels=("blue", "green", "red"), operations=operations, size=size)


def test_pictures_are_as_the_network_sees_them_after_resize_and_crop(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images", per_class=1, size=(60, 90)))
    grey, clear = (Image.open(index.path(row)) for row in (0, 1))
    grey.convert("L").save(index.path(0))
    clear.putalpha(0)
    clear.save(index.path(1))
    index.path(2).write_bytes(b"no image")
    model = model_of([["Resize", 40], ["CenterCrop", 32]], (32, 32))
    first, second, third = look(model, index, [(0, "red"), (1, "blue"), (2, "blue")], CPU)
    assert first is not None
    assert second is not None
    assert first.pixels.shape == second.pixels.shape == (32, 32, 3)
    assert first.heat.shape == second.heat.shape == (32, 32)
    assert (first.pixels == first.pixels[..., :1]).all()
    assert (second.pixels == 255).all()  # what is transparent lies over white
    assert first.label in model.labels
    assert third is None


def test_a_classic_model_takes_images_of_one_size_as_they_are(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images", per_class=1, size=(40, 56)))
    (seen,) = look(model_of(None, None), index, [(2, "red")], CPU)
    assert seen is not None
    assert seen.heat.shape == (40, 56)
    assert (seen.pixels == np.asarray(Image.open(index.path(2)))).all()
