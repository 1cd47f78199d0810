"""One network on many ranks: DDP around it, and the same batch-norm statistics everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from designer_vision.training.ranks import Ranks

SMALLEST_IMAGE = (32, 32)


def replicate(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """DDP around the network where there are other ranks; batch-norm statistics are equalized once an epoch instead.

    After its first backward pass DDP sorts the gradients into other buckets, and sums over three or more ranks then differ in
    their last bits. It happens here, on no image, so that a training that goes on adds up as one that was never stopped.
    """
    if ranks.world_size == 1:
        return network
    ids = [device.index] if device.type == "cuda" else None
    replica = DistributedDataParallel(network, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True)
    network.eval()  # leaves the statistics as they are
    for _ in range(2):  # the buckets are sorted at the beginning of the second pass
        replica(torch.zeros(1, 3, *SMALLEST_IMAGE, device=device)).sum().backward()
    network.zero_grad(set_to_none=True)
    return replica


def equalize_batch_norm(network: nn.Module, ranks: Ranks) -> None:
    """Average the batch-norm statistics over the ranks, so that all evaluate one and the same network."""
    if ranks.world_size > 1:
        set_batch_norm_statistics(network, ranks.mean(batch_norm_statistics(network)))


def batch_norm_statistics(network: nn.Module) -> Tensor:
    """This rank's batch-norm means and variances, float32 [n]; until an epoch's end each rank has its own."""
    device = next(network.parameters()).device
    return torch.cat([torch.empty(0, device=device), *(buffer.flatten() for buffer in _float_buffers(network))])


def set_batch_norm_statistics(network: nn.Module, values: Tensor) -> None:
    buffers = _float_buffers(network)
    for buffer, own in zip(buffers, torch.split(values, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(own.view_as(buffer))


def _float_buffers(network: nn.Module) -> list[Tensor]:
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]
