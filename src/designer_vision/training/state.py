"""What a trainer saves and goes on from, as a typed record: a checkpoint can come from a stranger, or from another training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from designer_vision.training.checkpoint import Count
from designer_vision.training.metrics import new_totals
from designer_vision.training.results import EpochResult, TimeBreakdown

MOST_RANKS, MOST_SEGMENTS = 100_000, 1000
Segment = tuple[Annotated[int, msgspec.Meta(gt=0, le=MOST_RANKS)], Count]
"""A number of ranks, and the steps of the epoch done on them."""


class MeterState(msgspec.Struct, forbid_unknown_fields=True):
    """Of the epoch under way: all ranks' sums, each rank's since the last line, and the seconds of both."""

    whole: Tensor
    stretches: Tensor
    seconds: float
    stretch_seconds: float


class OptimizerState(msgspec.Struct):
    """What the optimizer keeps of each parameter, such as its momentum, by its number; its settings the parameters say."""

    state: dict[int, dict[str, Tensor | None]]


class TrainerState(msgspec.Struct, forbid_unknown_fields=True):
    """All that decides what comes next.

    Attributes:
        segments: the ranks and steps of the epoch under way.
        meter: its training's sums.
        statistics: each rank's batch-norm statistics.
        totals: each rank's sums of the validation under way.
        spent: the seconds of the epoch under way.
        learning_rate: of the last step.
        validated: batches of the validation under way.
        history: the epochs that are finished.
        best, network: weights of the kept epoch, and of now.
        optimizer: its momentum.
        scaler: of the loss, where the network computes in float16.
    """

    segments: Annotated[list[Segment], msgspec.Meta(min_length=1, max_length=MOST_SEGMENTS)]
    meter: MeterState
    statistics: Tensor
    totals: Tensor
    spent: TimeBreakdown
    learning_rate: float
    validated: Count
    history: list[EpochResult]
    best: dict[str, Tensor]
    network: dict[str, Tensor]
    optimizer: OptimizerState
    scaler: dict[str, int | float]


@dataclass(frozen=True)
class Expected:
    """What a state must fit.

    Attributes:
        weights: the network's state_dict.
        momentum: what the optimizer keeps of each parameter, by its number.
        statistics: the network's batch-norm statistics.
        epochs: of the whole training.
    """

    weights: Mapping[str, Tensor]
    momentum: Mapping[int, Mapping[str, Tensor]]
    statistics: Tensor
    epochs: int


def read_state(state: Any, expected: Expected) -> TrainerState:
    """The state of a training of a network, of what a checkpoint holds.

    Raises:
        ValueError: it is another network's state, or none.
    """
    weights = expected.weights
    read = msgspec.convert(state, TrainerState)
    ranks = len(read.statistics) if read.statistics.ndim else 0
    sums = new_totals(torch.device("cpu"))
    _require(ranks == read.segments[-1][0], "the ranks of its last step")
    _same_shape("batch-norm statistics", [read.statistics], [torch.empty(ranks, *expected.statistics.shape, device="meta")])
    several = torch.empty(ranks, *sums.shape, device="meta")
    _same_shape("sums", [read.totals, read.meter.stretches, read.meter.whole], [several, several, sums])
    _require([epoch.number for epoch in read.history] == list(range(1, len(read.history) + 1)), "its epochs' numbers")
    _require(len(read.history) <= expected.epochs, "as many epochs")
    shares = [epoch.validation for epoch in read.history]
    _require(all(0 <= found.top1 <= 1 and found.seen > 0 for found in shares), "shares of images")
    numbers = [read.learning_rate, read.meter.seconds, read.meter.stretch_seconds, *read.scaler.values()]
    numbers += [figure for epoch in read.history for figure in (epoch.metrics() | epoch.seconds()).values()]
    numbers += astuple(read.spent)
    _require(all(map(math.isfinite, numbers)), "finite figures")
    for name, found in (("weights", read.network), ("best weights", read.best)):
        if name == "weights" or read.history:
            _require(set(found) == set(weights), f"its {name}")
            _same_shape(name, [found[key] for key in weights], list(weights.values()))
        else:
            _require(not found, f"its {name}")
    for number, buffers in read.optimizer.state.items():
        own = expected.momentum.get(number, {})
        _require(number in expected.momentum and set(buffers) == set(own), "its momentum")
        for name, momentum in buffers.items():
            if momentum is None:  # in a checkpoint of an earlier version, before its first step
                _require(name == "momentum_buffer", "its momentum")
                continue
            _same_shape("momentum", [momentum], [own[name]])
            _require(name == "momentum_buffer" or bool(momentum.isfinite().all()), "finite momentum")
            _require(name not in ("step", "exp_avg_sq") or bool((momentum >= 0).all()), "its momentum")
    return read


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"it does not hold {what}")


def _same_shape(what: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        _require(one.shape == other.shape and one.is_floating_point() == other.is_floating_point(), f"its {what}")
        _require(one.dtype in (torch.float32, torch.float64, torch.int64), f"plain {what}")
        if what in ("weights", "best weights"):
            _require(bool(one.isfinite().all()), f"finite {what}")


def copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU that later steps do not change, in torch's standard memory format."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in network.state_dict().items()}


def on_cpu(values: Any) -> Any:
    """A copy of nested containers with their tensors on the CPU, each in its own memory format."""
    return tree_map(lambda value: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value, values)
