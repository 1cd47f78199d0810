"""DDP's ddp, its warm-up, and the network compiled; alone, since ranks are tested with the trainer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from designer_vision.training.ddp import compiled, warm_up
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware

sys.path.insert(0, str(Path(__file__).parent))
from scenarios import make_trainer, parameters, small_network

ALONE, CPU = Ranks(), torch.device("cpu")


def test_warming_up_changes_neither_weights_nor_statistics_nor_the_random_state() -> None:
    network = small_network(batch_norm=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    warm_up(network, (4, 3, 8, 8), CPU, torch.float32)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = make_trainer(tmp_path, ALONE, parameters()).train()
    monkeypatch.setattr(torch, "compile", lambda network, **options: _Uncompilable())
    hardware = Hardware(CPU, torch.float32, 0, compiled=True)
    result = make_trainer(tmp_path, ALONE, parameters(), hardware=hardware).train()
    assert [epoch.training.loss for epoch in result.history] == [epoch.training.loss for epoch in plain.history]
    said = capsys.readouterr().out
    assert "warning: the network is not compiled: RuntimeError: Failed to find C compiler. Please set CC" in said
    assert said.count("not compiled") == 1


class _Uncompilable(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease set CC")


def test_a_trial_that_fails_halfway_leaves_the_statistics_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    class Halfway(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.network(images)
            raise RuntimeError("no memory for the backward pass")

    network = small_network(batch_norm=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda network, **options: Halfway(network))
        assert compiled(network, network, ALONE, [(4, 3, 8, 8)], CPU, torch.float32) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert "not compiled: RuntimeError: no memory for the backward pass" in capsys.readouterr().out


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_within_a_ten_thousandth(tmp_path: Path) -> None:
    def history(is_compiled: bool) -> list[float]:
        hardware = Hardware(CPU, torch.float32, 0, compiled=is_compiled)
        trainer = make_trainer(tmp_path, ALONE, parameters(), network=small_network(True), train=26, hardware=hardware)
        losses = [epoch.training.loss for epoch in trainer.train().history]
        assert isinstance(trainer.ddp, torch._dynamo.OptimizedModule) == is_compiled
        return losses

    assert history(True) == pytest.approx(history(False), abs=1e-4)


@pytest.mark.slow
def test_a_compiled_network_is_compiled_once_for_each_size_of_its_batches(tmp_path: Path) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network = small_network(True)
    ddp = compiled(network, network, ALONE, [(4, 3, 8, 8), (3, 3, 8, 8)], CPU, torch.float32)
    assert ddp is not None
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for size in (4, 3, 4):
        ddp(torch.zeros(size, 3, 8, 8).to(memory_format=torch.channels_last)).sum().backward()
    assert graphs == torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
