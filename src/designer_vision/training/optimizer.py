"""The optimizer, which follows from the network."""

from __future__ import annotations

import math

import torch
from torch import nn

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
NEW_HEAD_LR_SCALE, NEW_HEAD_LR = 10, 0.05
"""A new head on a trained network takes a larger learning rate: so many times the others', but no more than that, or theirs."""
ADAMW_LR_SCALE, ADAMW_WEIGHT_DECAY = 0.1, 0.05
"""AdamW takes a part of the learning rate, so that one and the same is sensible for all networks."""
LINEAR, SQUARE_ROOT = 1.0, 0.5
"""Powers of the number of processes, and so of images a step, by which a rate grows."""


def has_layer_norm(network: nn.Module) -> bool:
    """Whether it normalises each image by itself, as ConvNeXt and the transformers do: those are trained by AdamW."""
    return any(isinstance(module, nn.LayerNorm) for module in network.modules())


def highest_learning_rate(network: nn.Module, learning_rate: float, world_size: int) -> float:
    """What a training's learning rate rises to: the more images a step has, the longer it may be.

    SGD's by as much (Goyal et al. 2017, arXiv 1706.02677), AdamW's by the square root (Malladi et al. 2022, arXiv 2205.10287).

    Args:
        network: what is trained.
        learning_rate: of one process.
        world_size: processes that train.
    """
    return learning_rate * math.pow(world_size, SQUARE_ROOT if has_layer_norm(network) else LINEAR)


def make_optimizer(network: nn.Module, learning_rate: float, new_head: nn.Module | None = None) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW for networks with layer norm; weight decay on matrices and kernels only.

    Args:
        network: what is trained.
        learning_rate: the highest of the training.
        new_head: a layer of it that begins from nothing, where the others have learned before.

    Returns:
        The optimizer; each of its groups has an `lr_scale`, which the learning rate is multiplied by.
    """
    is_adamw = has_layer_norm(network)
    lr_scale, weight_decay = (ADAMW_LR_SCALE, ADAMW_WEIGHT_DECAY) if is_adamw else (1.0, WEIGHT_DECAY)
    new = set(new_head.parameters()) if new_head else set()
    new_head_lr_scale = max(1.0, min(NEW_HEAD_LR_SCALE, NEW_HEAD_LR / learning_rate))
    matrices = {one for name, one in network.named_parameters() if one.ndim > 1 and name.endswith("weight")}
    groups = [
        {"params": parameters, "weight_decay": decay, "lr_scale": lr_scale * scale}
        for scale, some in ((1.0, set(network.parameters()) - new), (new_head_lr_scale, new))
        for decay, is_matrix in ((weight_decay, True), (0.0, False))
        if (parameters := [one for one in network.parameters() if one in some and (one in matrices) == is_matrix])
    ]
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, lr=0.0, fused=True)
        if is_adamw
        else torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)
    )
    start_state(optimizer)
    return optimizer


def start_state(optimizer: torch.optim.Optimizer) -> None:
    """Momentum (and what else there is) of zero where there is none yet; the first step is the same.

    Where float16 overflows at its first step, which is usual, torch's fused SGD would leave memory as it found it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if isinstance(optimizer, torch.optim.AdamW):
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            elif state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def centralize_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Take from the gradient of each output's weights their mean (Yong et al. 2020, arXiv 2004.01461).

    What comes out of a ReLU is positive, so that one step along that mean moves an output for every image alike; without it the
    other directions are learned faster. It is SGD's: AdamW scales each weight's gradient by itself.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad -= parameter.grad.mean(dim=tuple(range(1, parameter.ndim)), keepdim=True)
