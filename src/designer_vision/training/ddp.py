"""One network on many ranks: DDP around it, and the same batch-norm statistics everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from designer_vision.runtime.console import say
from designer_vision.runtime.errors import ProcessSetupError
from designer_vision.runtime.precision import autocast
from designer_vision.training.ranks import Ranks


def wrap_ddp(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """DDP around the network where there are other ranks; batch-norm statistics are equalized once an epoch instead."""
    if ranks.world_size == 1:
        return network
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True)


def warm_up(ddp: nn.Module, shape: tuple[int, ...], device: torch.device, precision: torch.dtype) -> None:
    """Two passes over empty images that change no weight and no statistics.

    After its first backward pass DDP sorts the gradients into other buckets, and sums over three or more ranks then differ in
    their last bits: it happens here, so that a resumed training adds up as one that was never stopped. A GPU looks for the
    fastest convolutions for the shape that it is given, and a compiler compiles for it.
    """
    statistics = {name: buffer.clone() for name, buffer in ddp.named_buffers()}
    images = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
    ddp.train()
    try:
        for _ in range(2):  # the buckets are sorted at the beginning of the second pass
            ddp.zero_grad(set_to_none=True)  # gradients of a CUDA graph do not outlive its next step
            if device.type == "cuda":  # elsewhere its import would take two seconds
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            with autocast(device, precision):
                logits = ddp(images)
            logits.float().sum().backward()
    finally:
        ddp.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in ddp.named_buffers():
                buffer.copy_(statistics[name])


def compiled(
    network: nn.Module,
    ddp: nn.Module,
    ranks: Ranks,
    shapes: Sequence[tuple[int, ...]],
    device: torch.device,
    precision: torch.dtype,
) -> nn.Module | None:
    """DDP compiled for the shapes of its batches; None, with a line that says why, where that does not work on every rank.

    The network is tried without DDP first: ranks that compile would wait for the gradients of one that cannot.

    Args:
        network: without DDP.
        ddp: what `wrap_ddp` made of it.
        ranks: all of them call this.
        shapes: float images [n, 3, height, width].
        device, precision: of the training.

    Raises:
        ProcessSetupError: it works alone and not with DDP.
    """
    tried, reason = _compile(network, device), ""
    for shape in shapes:
        ranks.note("compiling")
        reason = reason or _failure_of(tried, shape, device, precision)
    if any(ranks.any_rank(bool(reason))):
        say(f"warning: the network is not compiled: {reason or 'another rank cannot'}")
        return None
    if ddp is network:
        return tried
    together = _compile(ddp, device)
    for shape in shapes:
        ranks.note("compiling")
        if reason := _failure_of(together, shape, device, precision):
            raise ProcessSetupError(f"the network cannot be compiled with DDP: {reason}; start without DESIGNER_VISION_COMPILE")
    return together


def _failure_of(network: nn.Module, shape: tuple[int, ...], device: torch.device, precision: torch.dtype) -> str:
    """Why a compiled network cannot take a step; empty if it can."""
    try:
        warm_up(network, shape, device, precision)
    except Exception as error:  # noqa: BLE001 (a compiler, and a compiler's compiler, fail in their own ways)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def _compile(network: nn.Module, device: torch.device) -> nn.Module:
    """On a GPU the kernels of a step are recorded once and replayed, as CUDA graphs."""
    return cast(nn.Module, torch.compile(network, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else "default"))


def equalize_batch_norm(network: nn.Module, ranks: Ranks) -> None:
    """Average the batch-norm statistics over the ranks, so that all evaluate one and the same network."""
    if ranks.world_size > 1:
        statistics = batch_norm_statistics(network)
        set_batch_norm_statistics(network, ranks.all_reduce_mean(statistics).to(statistics.device))


def batch_norm_statistics(network: nn.Module) -> Tensor:
    """This rank's batch-norm means and variances, float32 [n]; until an epoch's end each rank has its own."""
    device = next(network.parameters()).device
    return torch.cat([torch.empty(0, device=device), *(buffer.flatten() for buffer in _statistics(network))])


def set_batch_norm_statistics(network: nn.Module, values: Tensor) -> None:
    buffers = _statistics(network)
    for buffer, own in zip(buffers, torch.split(values, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(own.view_as(buffer))


def _statistics(network: nn.Module) -> list[Tensor]:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
