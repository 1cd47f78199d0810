"""The training loop: epochs of steps on every rank, exact counts, one epoch kept.

The trainer is handed a network and two datasets; it chooses neither. Every decision (which epoch is kept, an early stop,
a loss that is not finite) is made from sums over all ranks, so that every rank decides the same without a message.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from designer_vision.data.dataset import Asked, Batch, ImageDataset
from designer_vision.data.epoch_order import Share
from designer_vision.data.loader import Loader
from designer_vision.runtime.errors import JobStoppedError, TrainingDivergedError
from designer_vision.runtime.precision import autocast
from designer_vision.training.checkpoint import Position, State
from designer_vision.training.ddp import (
    batch_norm_statistics,
    compiled,
    equalize_batch_norm,
    set_batch_norm_statistics,
    warm_up,
    wrap_ddp,
)
from designer_vision.training.meter import ThroughputMeter
from designer_vision.training.metrics import Averages, add_to_totals, averages, loss_function, new_totals
from designer_vision.training.optimizer import centralize_gradients, highest_learning_rate, make_optimizer, start_state
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware, Recipe
from designer_vision.training.results import (
    Callbacks,
    EpochResult,
    IterationLog,
    TimeBreakdown,
    TrainingResult,
    epoch_to_keep,
    epochs_without_improvement,
    slow_ranks,
)
from designer_vision.training.schedule import learning_rate_at
from designer_vision.training.state import Expected, copy_of_weights, on_cpu, read_state

TRAINING, VALIDATION = 0, 1
"""The loader's datasets."""


class Trainer:
    """Trains a network on this rank's share of the images, in step with the other ranks.

    Args:
        network: on the CPU, with the same weights on every rank; it is moved to the device and changed.
        datasets: to train on and to validate with, the same on every rank.
        parameters: the person's seven.
        ranks, hardware: this process's place and means.
        recipe: how it is trained.
        callbacks: told of progress.
    """

    def __init__(
        self,
        network: nn.Module,
        datasets: tuple[ImageDataset, ImageDataset],
        parameters: Parameters,
        ranks: Ranks,
        hardware: Hardware,
        recipe: Recipe,
        callbacks: Callbacks | None = None,
    ) -> None:
        self.parameters, self.ranks, self.hardware = parameters, ranks, hardware
        self.callbacks = callbacks or Callbacks()
        self.network = network.to(hardware.device).to(memory_format=torch.channels_last)
        self.ddp = wrap_ddp(self.network, ranks, hardware.device)
        self.highest_learning_rate = highest_learning_rate(self.network, parameters.learning_rate, ranks.world_size)
        self.optimizer = make_optimizer(self.network, self.highest_learning_rate, recipe.new_head)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == torch.float16)
        self.normalize = recipe.normalize.to(hardware.device)
        weights = recipe.class_weights
        self.class_weights = torch.tensor(weights, device=hardware.device) if weights else None
        is_gpu = hardware.device.type == "cuda"
        self.copies = torch.cuda.Stream(hardware.device) if is_gpu else None  # type: ignore[no-untyped-call]
        self.datasets = datasets
        self.loader = Loader(
            datasets, hardware.workers, hardware.device, hardware.patience, parameters.batch_size, ranks.local_world_size
        )
        images, validated = map(len, datasets)
        self.share = Share(images, validated, parameters.batch_size, parameters.torch_seed, ranks.rank, ranks.world_size)
        self.steps_per_epoch = self.share.steps_per_epoch
        self.history: list[EpochResult] = []
        self.best: EpochResult | None = None
        self.weights: Mapping[str, Tensor] = {}
        self.begin_epoch()

    def train(self) -> TrainingResult:
        """Run the epochs that are left, as many as patience allows.

        Raises:
            TrainingDivergedError: the loss is not finite; on every rank.
            JobStoppedError: a rank was asked to stop; on every rank, after the last save.
            DesignerError: an image cannot be read; on the rank that reads it.
        """
        self.prepare_ddp()
        self.clock = time.perf_counter()
        self.coming = self.loader.batches(self.plan())
        while not self.is_over():
            number = len(self.history) + 1
            self.train_epoch(number)
            self.finish_epoch(number, self.validate(number))
        return self.result()

    def prepare_ddp(self) -> None:
        """Compile the network if that is wanted, and have all that happens at a first step happen before."""
        device, precision = self.hardware.device, self.hardware.precision
        shapes = [(images, 3, *self.datasets[TRAINING].size) for images in dict.fromkeys(map(len, self.share.to_train(1)))]
        if self.hardware.compiled:
            ddp = compiled(self.network, self.ddp, self.ranks, shapes, device, precision)
            if ddp is not None:
                self.ddp = ddp
                return
        if device.type == "cuda":
            warm_up(self.ddp, shapes[0], device, precision)
        elif self.ranks.world_size > 1:
            warm_up(self.ddp, (2, *shapes[0][1:]), device, precision)

    def result(self) -> TrainingResult:
        """What the epochs that are finished came to; there is at least one."""
        assert self.best is not None
        return TrainingResult(self.best, self.weights, tuple(self.history))

    def is_over(self) -> bool:
        done = len(self.history)
        return done == self.parameters.epochs or (
            done > 0 and epochs_without_improvement(self.history) >= self.parameters.patience
        )

    def begin_epoch(self) -> None:
        """Nothing of the epoch is done yet."""
        self.segments = self.share.new_epoch
        self.own_seconds = 0.0
        self.spent, self.clock = TimeBreakdown(), time.perf_counter()
        self.meter = ThroughputMeter(self.ranks, self.hardware.device, len(self.history) + 1)
        self.learning_rate = 0.0
        self.is_trained = False
        self.validated = 0
        self.totals = new_totals(self.hardware.device)

    def plan(self) -> Iterator[Asked]:
        """What this rank's data workers decode from here on: what is left of this epoch, its validation, and the next epochs."""
        number = len(self.history) + 1
        training = [] if self.is_trained else self.share.to_train(number, self.segments)
        validation = self.share.to_validate()[self.validated :]
        while True:
            yield from (Asked(number, batch, TRAINING) for batch in training)
            yield from (Asked(number, batch, VALIDATION) for batch in validation)
            if number == self.parameters.epochs:
                return
            number += 1
            training = self.share.to_train(number)
            validation = self.share.to_validate()

    def train_epoch(self, number: int) -> None:
        """The rest of one pass over the training images."""
        if self.is_trained:
            return
        left = len(self.share.to_train(number, self.segments))  # on fewer ranks before, more were done
        first = self.steps_per_epoch - left + 1
        self.ddp.train()
        for iteration in range(first, self.steps_per_epoch + 1):
            self.ranks.note("waiting for images")
            batch = self.next_batch(number, TRAINING)
            waited = self.spend("waiting")
            done = (number - 1) * self.steps_per_epoch + iteration - 1
            self.learning_rate = self.set_learning_rate(done)
            self.seed_network(done)
            loss, logits, labels = self.step(batch, waited)
            self.meter.add(iteration, loss, logits, labels)
            self.segments[-1] = (self.ranks.world_size, self.segments[-1][1] + 1)
            self.callbacks.on_step(len(labels), waited, time.perf_counter() - self.clock)
            if iteration % self.parameters.print_frequency == 0 or iteration == self.steps_per_epoch:
                self.report(number, iteration)
            self.between_batches()
            self.spend("computing")
        equalize_batch_norm(self.network, self.ranks)
        self.is_trained = True

    def next_batch(self, number: int, dataset: int) -> Batch:
        """The next batch of the plan, which is of that epoch and dataset."""
        with torch.inference_mode(mode=False):  # while a validation waits, batches to train on come too
            batch = next(self.coming)
        assert (batch.asked.epoch, batch.asked.dataset) == (number, dataset)
        return batch

    def spend(self, on: str) -> float:
        """Count the seconds since the last call as spent on something, and give them back."""
        now = time.perf_counter()
        seconds, self.clock = now - self.clock, now
        setattr(self.spent, on, getattr(self.spent, on) + seconds)
        return seconds

    def step(self, batch: Batch, waited: float) -> tuple[Tensor, Tensor, Tensor]:
        """Forward, backward, and one update; gives detached loss, logits and labels, still on the device."""
        self.ranks.note("computing")
        self.optimizer.zero_grad(set_to_none=True)
        images, labels = self.to_device(batch)
        if self.hardware.compiled and self.copies is not None:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with self.autocast():
            logits = self.ddp(self.normalize(images))
        logits = logits.float()
        loss = loss_function(logits, labels, self.class_weights)
        self.own_seconds += waited + time.perf_counter() - self.clock  # the ranks wait for each other in what follows
        self.ranks.note("averaging gradients")
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        centralize_gradients(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach(), logits.detach(), labels

    def validate(self, number: int) -> Averages:
        """Averages over the validation images, each counted once whatever the number of ranks.

        Raises:
            TrainingDivergedError: the loss is not finite; on every rank.
        """
        most, mine = len(self.share.to_validate(0)), len(self.share.to_validate())
        self.network.eval()
        with torch.inference_mode(), self.autocast():
            for number_of_batch in range(self.validated, most):  # as often on every rank, also where one has a batch less
                self.ranks.note("validating")
                if number_of_batch < mine:
                    images, labels = self.to_device(self.next_batch(number, VALIDATION))
                    logits = self.network(self.normalize(images)).float()
                    add_to_totals(self.totals, logits, labels, loss_function(logits, labels, self.class_weights))
                self.validated += 1
                self.between_batches()
        result = averages(self.ranks.all_reduce_sum(self.totals))
        self.spend("validating")
        if not math.isfinite(result.loss):
            raise TrainingDivergedError(f"the validation loss of epoch {number} is not finite; choose a lower learning_rate")
        return result

    def finish_epoch(self, number: int, validation: Averages) -> None:
        """Note the epoch's figures, keep its weights if they are the ones to keep, and save if that is due."""
        images_per_second = self.meter.images_per_second()
        epoch = EpochResult(number, self.meter.epoch_averages(), validation, images_per_second, self.learning_rate, self.spent)
        self.history.append(epoch)
        self.best = epoch_to_keep(self.history)
        if self.best is epoch and self.ranks.is_main:
            self.weights = copy_of_weights(self.network)
        self.callbacks.on_epoch(epoch)
        own = self.ranks.all_gather(torch.tensor(self.own_seconds, dtype=torch.float64)).tolist()
        for rank in slow_ranks(own):
            self.callbacks.on_slow_rank(rank, own[rank], statistics.median_low(own))
        self.begin_epoch()
        (save,) = self.ranks.any_rank(self.is_over() or self.callbacks.is_save_due(True))
        if save:
            self.save()

    def between_batches(self) -> None:
        """Save if it is time or a rank was asked to stop; in the second case, stop. All ranks decide the same.

        Raises:
            JobStoppedError: a rank was asked to stop.
        """
        stop, save = self.ranks.any_rank(self.callbacks.is_stop_requested(), self.callbacks.is_save_due(False))
        if stop or save:
            self.save()
        if stop:
            raise JobStoppedError(f"stopped after {self.position()}, on a signal; run the same command again to resume")

    # saving and going on

    def position(self) -> Position:
        return Position(len(self.history), self.share.images_done(len(self.history) + 1, self.segments), self.validated)

    def save(self) -> None:
        """Hand all that decides what comes next to the main rank's callbacks."""
        self.spend("validating" if self.is_trained else "computing")
        state = {
            "segments": list(self.segments),
            "meter": self.meter.state(),
            "statistics": self.ranks.all_gather(batch_norm_statistics(self.network)),
            "totals": self.ranks.all_gather(self.totals),
            "spent": asdict(self.spent),
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
            self.callbacks.on_save(state, self.position())
        self.spend("saving")

    def load(self, state: State) -> None:
        """Go on from what `save` gave, bit by bit on the same number of ranks.

        On another number, the images that the epoch has left are redistributed, the batch-norm statistics are averaged and
        a validation under way begins again.

        Raises:
            ValueError: it is not the state of this training.
        """
        own = self.optimizer.state_dict()
        expected = Expected(self.network.state_dict(), own["state"], batch_norm_statistics(self.network), self.parameters.epochs)
        read = read_state(state, expected)
        same = len(read.statistics) == self.ranks.world_size
        self.network.load_state_dict(read.network)
        set_batch_norm_statistics(self.network, read.statistics[self.ranks.rank] if same else read.statistics.mean(dim=0))
        self.optimizer.load_state_dict(own | {"state": read.optimizer.state})
        start_state(self.optimizer)
        if read.scaler:  # none where the steps before were in another number format
            self.scaler.load_state_dict(read.scaler)
        self.history = list(read.history)
        self.best = epoch_to_keep(self.history) if self.history else None
        self.weights = read.best if self.ranks.is_main else {}
        self.begin_epoch()
        self.spent = read.spent
        self.meter.load(read.meter)
        self.segments = [(world_size, steps) for world_size, steps in read.segments]
        self.learning_rate, self.is_trained = read.learning_rate, read.validated > 0
        if same:
            self.totals, self.validated = read.totals[self.ranks.rank].to(self.totals.device), read.validated
        else:
            self.segments.append((self.ranks.world_size, 0))

    def report(self, epoch: int, iteration: int) -> None:
        """Sum over the ranks, stop if the loss is not finite, and tell the callbacks."""
        stretch, images_per_second = self.meter.read()
        done = (epoch - 1) * self.steps_per_epoch + iteration
        left = self.meter.seconds_per_iteration(iteration) * (self.parameters.epochs * self.steps_per_epoch - done)
        self.callbacks.on_iteration(
            IterationLog(
                epoch, iteration, self.steps_per_epoch, images_per_second, stretch.loss, stretch.error, self.learning_rate, left
            )
        )

    def set_learning_rate(self, step: int) -> float:
        """The learning rate of a step of the whole training, times the number of ranks, set and given back."""
        learning_rate = learning_rate_at(
            step,
            self.highest_learning_rate,
            self.parameters.epochs * self.steps_per_epoch,
            self.parameters.warmup_step_number * self.steps_per_epoch,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        return learning_rate

    def seed_network(self, step: int) -> None:
        """Have what a network draws at a step (dropout, stochastic depth) be the same in a resumed training."""
        torch.manual_seed(int(np.random.SeedSequence((self.parameters.torch_seed, step, self.ranks.rank)).generate_state(1)[0]))

    def to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and labels on the device; a GPU takes them on a stream of its own, while it computes on those before."""
        if self.copies is None:
            return batch.images, batch.labels
        device = self.hardware.device
        with torch.cuda.stream(self.copies):
            images, labels = batch.images.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(self.copies)
        for tensor in (images, labels):
            tensor.record_stream(computing)
        return images, labels

    def autocast(self) -> AbstractContextManager[object]:
        return autocast(self.hardware.device, self.hardware.precision)
