"""SGD as every training here uses it."""

from __future__ import annotations

import torch
from torch import nn

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
NEW_HEAD_LR_SCALE, NEW_HEAD_LR = 10, 0.05
"""A new head on a trained network takes a larger learning rate: so many times the others', but no more than that, or theirs."""


def make_optimizer(network: nn.Module, learning_rate: float, new_head: nn.Module | None = None) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; weight decay on matrices and kernels only, not on biases and batch norm.

    Args:
        network: what is trained.
        learning_rate: the highest of the training.
        new_head: a layer of it that begins from nothing, where the others have learned before.

    Returns:
        The optimizer; each of its groups has an `lr_scale`, which the learning rate is multiplied by.
    """
    new = set(new_head.parameters()) if new_head else set()
    new_head_lr_scale = max(1.0, min(NEW_HEAD_LR_SCALE, NEW_HEAD_LR / learning_rate))
    groups = [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for scale, some in ((1.0, set(network.parameters()) - new), (new_head_lr_scale, new))
        for decay, is_matrix in ((WEIGHT_DECAY, True), (0.0, False))
        if (parameters := [one for one in network.parameters() if one in some and (one.ndim > 1) == is_matrix])
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)
    start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Momentum of zero where there is none yet; the first step is the same.

    Where float16 overflows at its first step, which is usual, torch's fused step would leave memory as it found it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def centralize_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Take from the gradient of each output's weights their mean (Yong et al. 2020, arXiv 2004.01461).

    What comes out of a ReLU is positive, so that one step along that mean moves an output for every image alike; without it the
    other directions are learned faster.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad -= parameter.grad.mean(dim=tuple(range(1, parameter.ndim)), keepdim=True)
