"""The training loop: epochs of steps on every rank, exact counts, the best epoch kept.

The trainer is handed a network and two datasets; it chooses neither. Every decision (a new best epoch, an early stop,
a loss that is not finite) is made from sums over all ranks, so that every rank decides the same without a message.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from designer_vision.errors import TrainingDivergedError
from designer_vision.loader import Batch, ImageDataset, Loader, batches, epoch_order, shard
from designer_vision.precision import autocast
from designer_vision.training.metrics import LOSS, Averages, add_to_totals, averages, loss_function, new_totals
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.schedule import learning_rate_at
from designer_vision.transforms import Normalize

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


@dataclass(frozen=True)
class Hardware:
    """What one process computes with.

    Attributes:
        device: its GPU, or the CPU.
        precision: the number format of the network's multiplications.
        workers: data workers of this process; 0 decodes in the process itself.
    """

    device: torch.device
    precision: torch.dtype
    workers: int


@dataclass(frozen=True)
class Iteration:
    """What one log line says; the figures are of the iterations since the last line, over all ranks."""

    epoch: int
    iteration: int
    iterations: int
    images_per_second: float
    loss: float
    error: float
    learning_rate: float
    seconds_left: float


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch, over all ranks; `number` counts from 1."""

    number: int
    training: Averages
    validation: Averages
    images_per_second: float
    learning_rate: float

    def metrics(self) -> dict[str, float]:
        """Under the classic designer's names."""
        return {
            "Train images per second": self.images_per_second,
            "Train loss": self.training.loss,
            "Train error": self.training.error,
            "Valid loss": self.validation.loss,
            "Top-1 validation accuracy": self.validation.top1,
            "Top-5 validation accuracy": self.validation.top5,
            "learning rate": self.learning_rate,
        }

    def is_better_than(self, other: Epoch | None) -> bool:
        """By top-1; with equal top-1 by the lower loss."""
        return other is None or (self.validation.top1, -self.validation.loss) > (
            other.validation.top1,
            -other.validation.loss,
        )


@dataclass
class Listener:
    """What the trainer tells while it works; the main rank sets these, the others leave them empty.

    Attributes:
        on_iteration: every print_frequency iterations and at an epoch's last one.
        on_epoch: after each validation.
        on_best: after each validation that is the best so far, with a copy of the weights on the CPU.
        on_step: after every iteration, with how many images it took on this rank; for a progress bar.
    """

    on_iteration: Callable[[Iteration], None] = lambda iteration: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_best: Callable[[Epoch, Mapping[str, Tensor]], None] = lambda epoch, weights: None
    on_step: Callable[[int], None] = lambda images: None


@dataclass(frozen=True)
class Result:
    """What a training came to: its best epoch, that epoch's weights (main rank only), and all epochs."""

    best: Epoch
    weights: Mapping[str, Tensor]
    history: tuple[Epoch, ...]


class Trainer:
    """Trains a network on this rank's share of the images, in step with the other ranks.

    Args:
        network: on the CPU, with the same weights on every rank; it is moved to the device and changed.
        training, validation: the datasets, the same on every rank.
        parameters: the person's seven.
        ranks, hardware: this process's place and means.
        mean, std: that the network expects its RGB input (0 to 1) to be normalised by.
        listener: told of progress.
    """

    def __init__(
        self,
        network: nn.Module,
        training: ImageDataset,
        validation: ImageDataset,
        parameters: Parameters,
        ranks: Ranks,
        hardware: Hardware,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        listener: Listener | None = None,
    ) -> None:
        self.parameters, self.ranks, self.hardware = parameters, ranks, hardware
        self.listener = listener or Listener()
        self.network = network.to(hardware.device).to(memory_format=torch.channels_last)
        self.replica = replicate(self.network, ranks, hardware.device)
        self.optimizer = make_optimizer(self.network)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == torch.float16)
        self.normalize = Normalize(mean, std).to(hardware.device)
        self.training, self.validation = training, validation
        self.training_loader = Loader(training, hardware.workers, hardware.device)
        self.validation_loader = Loader(validation, hardware.workers, hardware.device)
        per_rank = len(shard(np.arange(len(training)), ranks.rank, ranks.world_size))
        self.steps_per_epoch = len(batches(np.arange(per_rank), parameters.batch_size))
        self.history: list[Epoch] = []

    def train(self) -> Result:
        """Run all epochs, or as many as patience allows.

        Raises:
            TrainingDivergedError: the loss is not finite; on every rank.
            DesignerError: an image cannot be read; on the rank that reads it.
        """
        best: Epoch | None = None
        weights: Mapping[str, Tensor] = {}
        for number in range(1, self.parameters.epochs + 1):
            trained, images_per_second, learning_rate = self.train_epoch(number)
            self.equalize_batch_norm()
            epoch = Epoch(number, trained, self.validate(number), images_per_second, learning_rate)
            self.history.append(epoch)
            self.listener.on_epoch(epoch)
            if epoch.is_better_than(best):
                best = epoch
                if self.ranks.is_main:
                    weights = copy_of_weights(self.network)
                    self.listener.on_best(epoch, weights)
            if epochs_without_improvement(self.history) >= self.parameters.patience:
                break
        assert best is not None
        return Result(best, weights, tuple(self.history))

    def train_epoch(self, number: int) -> tuple[Averages, float, float]:
        """One pass over the training images; gives its averages, images/s over all ranks, and last learning rate."""
        order = epoch_order(len(self.training), self.parameters.torch_seed, number)
        plan = batches(shard(order, self.ranks.rank, self.ranks.world_size), self.parameters.batch_size)
        self.replica.train()
        meter = Meter(self.ranks, self.hardware.device, number)
        for iteration, batch in enumerate(self.training_loader.epoch(number, plan), start=1):
            learning_rate = self.set_learning_rate((number - 1) * self.steps_per_epoch + iteration - 1)
            loss, logits, labels = self.step(batch)
            meter.add(iteration, loss, logits, labels)
            self.listener.on_step(len(labels))
            if iteration % self.parameters.print_frequency == 0 or iteration == len(plan):
                self.report(meter, number, iteration, learning_rate)
        return meter.epoch_averages(), meter.images_per_second(), learning_rate

    def step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Forward, backward, and one update; gives detached loss, logits and labels, still on the device."""
        images, labels = self.to_device(batch)
        with self.autocast():
            logits = self.replica(self.normalize(images))
        logits = logits.float()
        loss = loss_function(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach(), logits.detach(), labels

    def validate(self, number: int) -> Averages:
        """Averages over the validation images, each counted once whatever the number of ranks.

        Raises:
            TrainingDivergedError: the loss is not finite; on every rank.
        """
        mine = np.arange(len(self.validation))[self.ranks.rank :: self.ranks.world_size]
        totals = new_totals(self.hardware.device)
        self.network.eval()
        with torch.inference_mode(), self.autocast():
            for batch in self.validation_loader.epoch(number, batches(mine, self.parameters.batch_size)):
                images, labels = self.to_device(batch)
                logits = self.network(self.normalize(images)).float()
                add_to_totals(totals, logits, labels, loss_function(logits, labels))
        result = averages(self.ranks.sum(totals))
        if not math.isfinite(result.loss):
            raise TrainingDivergedError(f"the validation loss of epoch {number} is not finite; choose a lower learning_rate")
        return result

    def report(self, meter: Meter, epoch: int, iteration: int, learning_rate: float) -> None:
        """Sum over the ranks, stop if the loss is not finite, and tell the listener."""
        stretch, images_per_second = meter.read()
        done = (epoch - 1) * self.steps_per_epoch + iteration
        left = meter.seconds_per_iteration(iteration) * (self.parameters.epochs * self.steps_per_epoch - done)
        self.listener.on_iteration(
            Iteration(
                epoch,
                iteration,
                self.steps_per_epoch,
                images_per_second,
                stretch.loss,
                stretch.error,
                learning_rate,
                left,
            )
        )

    def set_learning_rate(self, step: int) -> float:
        """The learning rate of a step of the whole training, times the number of ranks, set and given back."""
        learning_rate = learning_rate_at(
            step,
            self.parameters.learning_rate * self.ranks.world_size,
            self.parameters.epochs * self.steps_per_epoch,
            self.parameters.warmup_step_number * self.steps_per_epoch,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def equalize_batch_norm(self) -> None:
        """Average the batch-norm statistics over the ranks, so that all evaluate one and the same network."""
        statistics = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        if self.ranks.world_size == 1 or not statistics:
            return
        mean = self.ranks.mean(torch.cat([buffer.flatten() for buffer in statistics]))
        for buffer, values in zip(statistics, torch.split(mean, [buffer.numel() for buffer in statistics]), strict=True):
            buffer.copy_(values.view_as(buffer))

    def to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        device = self.hardware.device
        return batch.images.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        return autocast(self.hardware.device, self.hardware.precision)


class Meter:
    """Sums over the iterations of an epoch; read at print_frequency and at the end, when it asks the other ranks."""

    def __init__(self, ranks: Ranks, device: torch.device, epoch: int) -> None:
        self._ranks, self._epoch = ranks, epoch
        self._stretch, self._whole = new_totals(device), new_totals(device)
        self._first_not_finite = torch.full((), torch.inf, dtype=torch.float64, device=device)
        self._start = self._stretch_start = time.perf_counter()

    def add(self, iteration: int, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch on the device."""
        add_to_totals(self._stretch, logits, labels, loss)
        here = torch.where(loss.isfinite(), torch.inf, float(iteration)).double()
        self._first_not_finite = torch.minimum(self._first_not_finite, here)

    def read(self) -> tuple[Averages, float]:
        """Averages and images/s since the last call, over all ranks.

        Raises:
            TrainingDivergedError: a loss was not finite, on whichever rank.
        """
        totals = self._ranks.sum(self._stretch)
        if not totals[LOSS].isfinite():  # the sum is the same on every rank, so all of them come in here together
            self._raise_diverged()
        self._whole += totals
        stretch = averages(totals)
        self._stretch = torch.zeros_like(totals)
        now = time.perf_counter()
        seconds, self._stretch_start = now - self._stretch_start, now
        return stretch, stretch.seen / seconds

    def _raise_diverged(self) -> None:
        if self._ranks.world_size > 1:
            dist.all_reduce(self._first_not_finite, dist.ReduceOp.MIN)
        raise TrainingDivergedError(
            f"the training loss is not finite since epoch {self._epoch}, iteration {int(self._first_not_finite)}; "
            "choose a lower learning_rate or a longer warmup_step_number"
        )

    def epoch_averages(self) -> Averages:
        return averages(self._whole)

    def images_per_second(self) -> float:
        return self.epoch_averages().seen / (self._stretch_start - self._start)

    def seconds_per_iteration(self, iterations: int) -> float:
        return (self._stretch_start - self._start) / iterations


def replicate(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """DDP around the network where there are other ranks; batch-norm statistics are equalized once an epoch instead."""
    if ranks.world_size == 1:
        return network
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True)


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; weight decay on matrices and kernels only, not on biases and batch norm."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)


def copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU that later steps do not change, in torch's standard memory format."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in network.state_dict().items()}


def epochs_without_improvement(history: list[Epoch]) -> int:
    """How many epochs in a row, up to the last, had no new lowest validation loss."""
    losses = [epoch.validation.loss for epoch in history]
    return len(losses) - 1 - losses.index(min(losses))
