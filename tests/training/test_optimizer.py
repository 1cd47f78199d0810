"""The optimizer: what is decayed, what is centralized, what a new head learns at."""

from __future__ import annotations

import pytest
import torch
from scenarios import drawing_network, small_network

from designer_vision.training.optimizer import centralize_gradients, highest_learning_rate, make_optimizer


def test_biases_and_batch_norm_are_not_decayed() -> None:
    network = small_network(batch_norm=True)
    decayed, others = make_optimizer(network, 0.01).param_groups
    assert {id(p) for p in decayed["params"]} == {id(network[0].weight), id(network[5].weight)}
    assert (decayed["weight_decay"], others["weight_decay"], len(others["params"])) == (1e-4, 0.0, 4)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in (decayed, others))


def test_a_network_with_layer_norm_is_trained_by_adamw_at_a_part_of_the_rate() -> None:
    network = torch.nn.Sequential(drawing_network(), torch.nn.Conv2d(4, 1, 1))
    network.token = torch.nn.Parameter(torch.zeros(1, 1, 4))  # as the transformers have, and do not decay
    optimizer = make_optimizer(network, 0.01, network[0][6])
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0, 0.05, 0.0]
    assert [group["lr_scale"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    decayed = [id(one) for group in optimizer.param_groups if group["weight_decay"] for one in group["params"]]
    assert set(decayed) == {id(network[0][0].weight), id(network[0][6].weight), id(network[1].weight)}


def test_a_rate_grows_with_the_processes_and_adamws_by_the_square_root() -> None:
    assert highest_learning_rate(small_network(), 0.01, 1) == highest_learning_rate(drawing_network(), 0.01, 1) == 0.01
    assert highest_learning_rate(small_network(), 0.01, 4) == pytest.approx(0.04)
    assert highest_learning_rate(drawing_network(), 0.01, 4) == pytest.approx(0.02)


def test_a_step_of_adamw_keeps_the_direction_of_its_gradient() -> None:
    network = drawing_network()
    optimizer = make_optimizer(network, 0.01)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    centralize_gradients(optimizer)
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())


def test_a_first_step_that_overflows_leaves_weights_and_momentum_as_they_were() -> None:
    network = small_network()
    optimizer = make_optimizer(network, 0.01)
    before = [parameter.clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    optimizer.found_inf, optimizer.grad_scale = torch.ones(()), torch.full((), 65536.0)  # as GradScaler has it
    optimizer.step()
    del optimizer.found_inf, optimizer.grad_scale
    assert all(map(torch.equal, before, network.parameters()))
    assert all(not optimizer.state[parameter]["momentum_buffer"].any() for parameter in network.parameters())


def test_a_first_step_from_momentum_of_zero_is_torchs_own() -> None:
    ours, torchs = small_network(), small_network()
    optimizer = make_optimizer(torchs, 0.01)
    optimizer.state.clear()
    for network, own in ((ours, make_optimizer(ours, 0.01)), (torchs, optimizer)):
        network(torch.ones(2, 3, 8, 8)).sum().backward()
        for group in own.param_groups:
            group["lr"] = 0.1
        own.step()
    assert all(map(torch.equal, ours.parameters(), torchs.parameters()))


def with_gradients(batch_norm: bool = False) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    network = small_network(batch_norm)
    network(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    return network, make_optimizer(network, 0.01)


def test_a_centralized_gradient_has_a_mean_of_zero_for_each_output_and_is_otherwise_the_same() -> None:
    network, optimizer = with_gradients(batch_norm=True)
    before = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    centralize_gradients(optimizer)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter.grad, before[name])
            continue
        means = parameter.grad.flatten(1).mean(dim=1)
        assert means.abs().max() < 1e-5 * before[name].abs().max()
        assert before[name].flatten(1).mean(dim=1).abs().max() > 1e-3 * before[name].abs().max()
        taken = before[name] - parameter.grad
        assert torch.allclose(taken, taken.flatten(1)[:, :1].reshape(-1, *[1] * (parameter.ndim - 1)).expand_as(taken), atol=1e-4)


def test_a_step_keeps_the_mean_of_each_outputs_weights_but_for_their_decay() -> None:
    network, optimizer = with_gradients()
    before = [parameter.detach().flatten(1).mean(dim=1) for parameter in network.parameters() if parameter.ndim > 1]
    centralize_gradients(optimizer)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = 0.01, 0.0
    optimizer.step()
    after = [parameter.detach().flatten(1).mean(dim=1) for parameter in network.parameters() if parameter.ndim > 1]
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(before, after, strict=True))


def test_a_gradient_that_is_not_finite_stays_so() -> None:
    network, optimizer = with_gradients()
    network[0].weight.grad[0, 0, 0, 0] = torch.inf
    centralize_gradients(optimizer)
    assert not network[0].weight.grad.isfinite().all()  # the loss scaler finds it


@pytest.mark.parametrize(("learning_rate", "heads"), [(0.001, 0.01), (0.005, 0.05), (0.02, 0.05), (0.05, 0.05), (0.2, 0.2)])
def test_a_new_head_learns_at_ten_times_the_rate_up_to_a_limit_and_never_at_less(learning_rate: float, heads: float) -> None:
    network = small_network(batch_norm=True)
    groups = make_optimizer(network, learning_rate, network[5]).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(1e-4, 1), (0.0, 3), (1e-4, 1), (0.0, 1)]
    rates = [learning_rate * group["lr_scale"] for group in groups]
    assert rates == pytest.approx([learning_rate, learning_rate, heads, heads])
    assert groups[2]["params"][0] is network[5].weight


@pytest.mark.parametrize("is_new", [True, False])
def test_every_parameter_is_in_one_group(is_new: bool) -> None:
    network = small_network(batch_norm=True)
    groups = make_optimizer(network, 0.01, network[5] if is_new else None).param_groups
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(map(id, network.parameters()))
