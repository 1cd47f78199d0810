"""The training loop: epochs of steps on every rank, exact counts, the best epoch kept.

The trainer is handed a network and two datasets; it chooses neither. Every decision (a new best epoch, an early stop,
a loss that is not finite) is made from sums over all ranks, so that every rank decides the same without a message.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from designer_vision.errors import JobStoppedError, TrainingDivergedError
from designer_vision.loader import Batch, ImageDataset, Indices, Loader, batches, epoch_order, remaining, shard
from designer_vision.precision import autocast
from designer_vision.training.checkpoint import Position, State
from designer_vision.training.meter import Meter
from designer_vision.training.metrics import Averages, add_to_totals, averages, loss_function, new_totals
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.records import Epoch, Iteration, Listener, Result
from designer_vision.training.schedule import learning_rate_at
from designer_vision.training.state import read_state
from designer_vision.transforms import Normalize

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
SLOW, SLOW_SECONDS = 2, 1.0
"""A rank is slow that takes so many times as long as the others, and so much longer in an epoch."""
SMALLEST_IMAGE = (32, 32)
EDGES_BETWEEN_AGREEMENTS = {"cpu": 1, "cuda": 10}
"""Batches after which the ranks ask each other whether to save or stop: a GPU has to be waited for then."""


@dataclass(frozen=True)
class Hardware:
    """What one process computes with.

    Attributes:
        device: its GPU, or the CPU.
        precision: the number format of the network's multiplications.
        workers: data workers of this process; 0 decodes in the process itself.
        patience: how long a data worker may take for a batch.
    """

    device: torch.device
    precision: torch.dtype
    workers: int
    patience: timedelta = timedelta(minutes=5)


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
        self.training_loader = Loader(training, hardware.workers, hardware.device, hardware.patience)
        self.validation_loader = Loader(validation, hardware.workers, hardware.device, hardware.patience)
        per_rank = len(shard(np.arange(len(training)), ranks.rank, ranks.world_size))
        self.steps_per_epoch = len(batches(np.arange(per_rank), parameters.batch_size))
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self.weights: Mapping[str, Tensor] = {}
        self.edges = 0
        self.begin_epoch()

    def train(self) -> Result:
        """Run the epochs that are left, as many as patience allows.

        Raises:
            TrainingDivergedError: the loss is not finite; on every rank.
            JobStoppedError: a rank was asked to stop; on every rank, after the last save.
            DesignerError: an image cannot be read; on the rank that reads it.
        """
        while not self.is_over():
            number = len(self.history) + 1
            self.train_epoch(number)
            self.finish_epoch(number, self.validate(number))
        return self.result()

    def result(self) -> Result:
        """What the epochs that are finished came to; there is at least one."""
        assert self.best is not None
        return Result(self.best, self.weights, tuple(self.history))

    def is_over(self) -> bool:
        done = len(self.history)
        return done == self.parameters.epochs or (
            done > 0 and epochs_without_improvement(self.history) >= self.parameters.patience
        )

    def begin_epoch(self) -> None:
        """Nothing of the epoch is done yet."""
        self.legs = [(self.ranks.world_size, 0)]
        self.own_seconds = 0.0
        self.meter = Meter(self.ranks, self.hardware.device, len(self.history) + 1)
        self.learning_rate = 0.0
        self.is_trained = False
        self.validated = 0
        self.totals = new_totals(self.hardware.device)

    def train_epoch(self, number: int) -> None:
        """The rest of one pass over the training images."""
        if self.is_trained:
            return
        plan = batches(shard(self.left_at_leg(number), self.ranks.rank, self.ranks.world_size), self.parameters.batch_size)
        _, done = self.legs[-1]
        first = self.steps_per_epoch - len(plan) + done + 1  # counted from the end: on fewer ranks before, more steps were done
        self.replica.train()
        self.began = time.perf_counter()
        for iteration, batch in enumerate(self.training_loader.epoch(number, plan[done:]), start=first):
            self.learning_rate = self.set_learning_rate((number - 1) * self.steps_per_epoch + iteration - 1)
            loss, logits, labels = self.step(batch)
            self.meter.add(iteration, loss, logits, labels)
            self.legs[-1] = (self.ranks.world_size, self.legs[-1][1] + 1)
            self.listener.on_step(len(labels))
            if iteration % self.parameters.print_frequency == 0 or iteration == self.steps_per_epoch:
                self.report(number, iteration)
            self.between_batches()
            self.began = time.perf_counter()
        self.equalize_batch_norm()
        self.is_trained = True

    def step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Forward, backward, and one update; gives detached loss, logits and labels, still on the device."""
        images, labels = self.to_device(batch)
        with self.autocast():
            logits = self.replica(self.normalize(images))
        logits = logits.float()
        loss = loss_function(logits, labels)
        self.own_seconds += time.perf_counter() - self.began  # the ranks wait for each other in what follows
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
        shards = [np.arange(len(self.validation))[rank :: self.ranks.world_size] for rank in (0, self.ranks.rank)]
        most, mine = (batches(indices, self.parameters.batch_size) for indices in shards)
        coming = self.validation_loader.epoch(number, mine[self.validated :])
        self.network.eval()
        with torch.inference_mode(), self.autocast():
            for _ in range(self.validated, len(most)):  # as often on every rank, also where one has a batch less
                if (batch := next(coming, None)) is not None:
                    images, labels = self.to_device(batch)
                    logits = self.network(self.normalize(images)).float()
                    add_to_totals(self.totals, logits, labels, loss_function(logits, labels))
                self.validated += 1
                self.between_batches()
        result = averages(self.ranks.sum(self.totals))
        if not math.isfinite(result.loss):
            raise TrainingDivergedError(f"the validation loss of epoch {number} is not finite; choose a lower learning_rate")
        return result

    def finish_epoch(self, number: int, validation: Averages) -> None:
        """Note the epoch's figures, keep its weights if it is the best, and save if that is due."""
        epoch = Epoch(number, self.meter.epoch_averages(), validation, self.meter.images_per_second(), self.learning_rate)
        self.history.append(epoch)
        if epoch.is_better_than(self.best):
            self.best = epoch
            if self.ranks.is_main:
                self.weights = copy_of_weights(self.network)
        self.listener.on_epoch(epoch)
        own = self.ranks.gather(torch.tensor(self.own_seconds, dtype=torch.float64, device=self.hardware.device)).tolist()
        for rank in slow_ranks(own):
            self.listener.on_slow_rank(rank, own[rank], statistics.median_low(own))
        self.begin_epoch()
        (save,) = self.ranks.any(self.hardware.device, self.is_over() or self.listener.is_save_due(True))
        if save:
            self.save()

    def between_batches(self) -> None:
        """Save if it is time or a rank was asked to stop; in the second case, stop. All ranks decide the same.

        Raises:
            JobStoppedError: a rank was asked to stop.
        """
        self.edges += 1
        if self.edges % EDGES_BETWEEN_AGREEMENTS[self.hardware.device.type]:
            return
        asked = self.listener.is_stop_requested(), self.listener.is_save_due(False)
        stop, save = self.ranks.any(self.hardware.device, *asked)
        if stop or save:
            self.save()
        if stop:
            raise JobStoppedError(f"stopped after {self.position()}, as a signal asked; the same command goes on from there")

    # saving and going on

    def left_at_leg(self, number: int) -> Indices:
        """The images of the epoch that were left when it was first trained on this number of ranks."""
        order = epoch_order(len(self.training), self.parameters.torch_seed, number)
        return remaining(order, self.legs[:-1], self.parameters.batch_size)

    def position(self) -> Position:
        order = epoch_order(len(self.training), self.parameters.torch_seed, len(self.history) + 1)
        left = len(remaining(order, self.legs, self.parameters.batch_size))
        return Position(len(self.history), len(self.training) - left, self.validated)

    def save(self) -> None:
        """Hand all that decides what comes next to the main rank's listener."""
        state = {
            "legs": list(self.legs),
            "meter": self.meter.state(),
            "statistics": self.ranks.gather(self.batch_norm_statistics()).cpu(),
            "totals": self.ranks.gather(self.totals).cpu(),
            "learning_rate": self.learning_rate,
            "validated": self.validated,
            "history": [asdict(epoch) for epoch in self.history],
        }
        if self.ranks.is_main:
            state |= {
                "best": dict(self.weights),
                "network": on_cpu(self.network.state_dict()),
                "optimizer": on_cpu(self.optimizer.state_dict()),
                "scaler": self.scaler.state_dict(),
            }
            self.listener.on_save(state, self.position())

    def load(self, state: State) -> None:
        """Go on from what `save` gave, bit by bit on the same number of ranks.

        On another number, the images that the epoch has left are dealt out anew, the batch-norm statistics are averaged and
        a validation under way begins again.

        Raises:
            ValueError: it is not the state of this training.
        """
        own = self.optimizer.state_dict()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        read = read_state(state, self.network.state_dict(), parameters, self.batch_norm_statistics(), self.parameters.epochs)
        same = len(read.statistics) == self.ranks.world_size
        self.network.load_state_dict(read.network)
        self.set_batch_norm_statistics(read.statistics[self.ranks.rank] if same else read.statistics.mean(dim=0))
        self.optimizer.load_state_dict(own | {"state": read.optimizer.state})
        self.scaler.load_state_dict(read.scaler)
        self.history = list(read.history)
        for epoch in self.history:
            if epoch.is_better_than(self.best):
                self.best = epoch
        self.weights = read.best if self.ranks.is_main else {}
        self.begin_epoch()
        self.meter.load(read.meter)
        self.legs = [(world_size, steps) for world_size, steps in read.legs]
        self.learning_rate, self.is_trained = read.learning_rate, read.validated > 0
        if same:
            self.totals, self.validated = read.totals[self.ranks.rank].to(self.totals.device), read.validated
        else:
            self.legs.append((self.ranks.world_size, 0))

    def report(self, epoch: int, iteration: int) -> None:
        """Sum over the ranks, stop if the loss is not finite, and tell the listener."""
        stretch, images_per_second = self.meter.read()
        done = (epoch - 1) * self.steps_per_epoch + iteration
        left = self.meter.seconds_per_iteration(iteration) * (self.parameters.epochs * self.steps_per_epoch - done)
        self.listener.on_iteration(
            Iteration(
                epoch,
                iteration,
                self.steps_per_epoch,
                images_per_second,
                stretch.loss,
                stretch.error,
                self.learning_rate,
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
        if self.ranks.world_size > 1:
            self.set_batch_norm_statistics(self.ranks.mean(self.batch_norm_statistics()))

    def batch_norm_statistics(self) -> Tensor:
        """This rank's batch-norm means and variances, float32 [n]; until an epoch's end each rank has its own."""
        return torch.cat([torch.empty(0, device=self.hardware.device), *(buffer.flatten() for buffer in self.float_buffers())])

    def set_batch_norm_statistics(self, values: Tensor) -> None:
        buffers = self.float_buffers()
        for buffer, own in zip(buffers, torch.split(values, [buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(own.view_as(buffer))

    def float_buffers(self) -> list[Tensor]:
        return [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]

    def to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        device = self.hardware.device
        return batch.images.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        return autocast(self.hardware.device, self.hardware.precision)


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


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; weight decay on matrices and kernels only, not on biases and batch norm."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)


def copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU that later steps do not change, in torch's standard memory format."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in network.state_dict().items()}


def on_cpu(values: Any) -> Any:
    """A copy of nested containers with their tensors on the CPU, each in its own memory format."""
    return tree_map(lambda value: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value, values)


def slow_ranks(seconds: list[float]) -> list[int]:
    """The ranks that took much longer than most for what each does alone: reading its images, and the forward pass."""
    usual = statistics.median_low(seconds)
    return [rank for rank, own in enumerate(seconds) if own > SLOW * usual and own - usual > SLOW_SECONDS]


def epochs_without_improvement(history: list[Epoch]) -> int:
    """How many epochs in a row, up to the last, had no new lowest validation loss."""
    losses = [epoch.validation.loss for epoch in history]
    return len(losses) - 1 - losses.index(min(losses))
