from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from designer_vision.networks import builders
from designer_vision.networks.architectures import NETWORKS, Architecture
from designer_vision.runtime.errors import PretrainedWeightsError
from designer_vision.training.optimizer import has_layer_norm


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_list_has_a_head_for_the_classes(name: str) -> None:
    network = builders.on_meta(Architecture(name), 7)
    assert builders.head(network).out_features == 7
    assert all(parameter.is_meta for parameter in network.parameters())
    assert has_layer_norm(network) == Architecture(name).family.has_layer_norm


def test_batch_norm_averages_over_as_many_steps_in_every_network() -> None:
    network = builders.on_meta(Architecture("mobilenet_v3_small"), 3)
    assert {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (builders.build(Architecture("resnet18"), 2, seed).fc.weight for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "swin_v2_t"])
def test_a_new_head_changes_nothing_but_the_head(name: str) -> None:
    network = builders.build(Architecture(name), 3, seed=1)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    builders.replace_head(network, 5)
    after = network.state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])}
    head = Architecture(name).family.head
    assert changed == {f"{head}.weight", f"{head}.bias"}
    assert not any(parameter.any() for parameter in builders.head(network).parameters())


def bfloat16(layer: nn.Module, features: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return layer(features)


@pytest.mark.parametrize("is_new", [False, True], ids=["built", "replaced"])
def test_the_head_computes_in_float32_under_autocast_where_bfloat16_would_tie(is_new: bool) -> None:
    network = builders.build(Architecture("resnet18"), 3 if is_new else 1000, seed=1)
    if is_new:
        builders.replace_head(network, 1000)
        nn.init.normal_(builders.head(network).weight, std=0.02, generator=torch.Generator().manual_seed(1))
    features = torch.rand(1, 512, generator=torch.Generator().manual_seed(1))
    plain = nn.Linear(512, 1000)
    plain.load_state_dict(builders.head(network).state_dict())
    assert len(bfloat16(plain, features).unique()) < 900
    logits = bfloat16(builders.head(network), features.bfloat16())
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 990
    assert torch.allclose(logits, plain(features.bfloat16().float()), atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_a_network_has_torchvision_s_weights_for_its_seed_and_can_be_copied(name: str) -> None:
    torch.manual_seed(7)
    expected = torchvision.models.get_model(name, weights=None, num_classes=5).state_dict()
    network = copy.deepcopy(builders.build(Architecture(name), 5, seed=7))
    assert isinstance(builders.head(network), builders.Head)
    state = network.state_dict()
    assert [*state] == [*expected]
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_compiler_takes_a_network_with_its_head_whole() -> None:
    network = builders.build(Architecture("resnet18"), 9, seed=1).eval()
    images = torch.rand(2, 3, 32, 32)
    whole = torch.compile(network, fullgraph=True, backend="eager")
    assert torch.equal(bfloat16(whole, images), bfloat16(network, images))


def test_two_heads_folded_into_one_compute_the_same() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 10), nn.Linear(10, 3)
    weights = {"fc.weight": first.weight, "fc.bias": first.bias}
    weights |= {"out_linear_model.weight": second.weight, "out_linear_model.bias": second.bias}
    folded = builders.fold_heads({name: tensor.detach() for name, tensor in weights.items()})
    features = torch.rand(4, 6)
    expected = second(first(features))
    assert set(folded) == {"fc.weight", "fc.bias"}
    assert torch.allclose(features @ folded["fc.weight"].T + folded["fc.bias"], expected, atol=1e-6)


def planted(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: object) -> None:
    """Put a weights file where torchvision's download would leave it."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, folder / "hub" / "checkpoints" / name)


def test_pretrained_weights_are_found_below_torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = builders.build(Architecture("resnet18"), 1000, seed=3).state_dict()
    planted(tmp_path, monkeypatch, "resnet18-f37072fd.pth", state)
    assert torch.equal(builders.fetch_pretrained("resnet18")["fc.weight"], state["fc.weight"])


def test_pretrained_densenet_files_with_old_keys_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = builders.build(Architecture("densenet121"), 1000, seed=3).state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor for key, tensor in state.items()}
    assert set(old) != set(state)
    planted(tmp_path, monkeypatch, "densenet121-a639ec97.pth", old)
    assert set(builders.fetch_pretrained("densenet121")) == set(state)


def test_without_weights_and_network_the_error_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        PretrainedWeightsError, match=r"resnet18-f37072fd\.pth .*TORCH_HOME.*pretrained False, or `designer-vision train"
    ):
        builders.fetch_pretrained("resnet18")
