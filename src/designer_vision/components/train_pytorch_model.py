"""Train PyTorch Model: read the inputs, join the other processes, plan, train, and publish what came of it."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from torch import nn

from designer_vision.components.heat_maps import with_heat_maps
from designer_vision.components.kept_network import see_validation_images
from designer_vision.components.training_hardware import keep_images, precision_for
from designer_vision.components.training_output import METRICS, PROFILE, TrainingOutput, logged
from designer_vision.components.training_plan import Plan, describe, make_plan
from designer_vision.components.training_task import Task, facts_to_share, read_task
from designer_vision.data import images
from designer_vision.data.dataset import ImageDataset
from designer_vision.data.loader import Loader
from designer_vision.data.transforms import Normalize
from designer_vision.formats.image_index import ImageIndex
from designer_vision.networks import builders
from designer_vision.report.mistakes import Photos
from designer_vision.report.training_report import TrainingRun
from designer_vision.runtime.console import best_effort
from designer_vision.runtime.errors import (
    CheckpointError,
    DesignerError,
    JobStoppedError,
    ModuleOutOfMemoryError,
    TrainingDivergedError,
    chain_of,
    is_out_of_memory,
)
from designer_vision.runtime.gpus import count_gpus
from designer_vision.runtime.settings import Settings
from designer_vision.runtime.tracking import Tracker
from designer_vision.training.checkpoint import Saver, state_of
from designer_vision.training.parameters import Parameters
from designer_vision.training.profiling import Profile, Reading
from designer_vision.training.progress import Progress
from designer_vision.training.ranks import Ranks, Timeouts, sentence_of
from designer_vision.training.recipe import Recipe
from designer_vision.training.results import Callbacks, EpochResult, TrainingResult
from designer_vision.training.stopping import StopRequest
from designer_vision.training.trainer import Trainer

PROBED = 16


def main(
    untrained_model: Path, training_dataset: Path, validation_dataset: Path, parameters: Parameters, trained_model: Path
) -> None:
    """Train, and write the kept epoch's network to `trained_model`.

    Every process of the job calls this with the same arguments; the main one writes. Where `trained_model`, or else
    `untrained_model`, holds the checkpoints of the same training, it goes on from the last one.

    Raises:
        DesignerError: an input cannot be used, the processes do not fit the machine or each other, the output holds another
            training, or the loss is not finite.
        JobStoppedError: a signal asked to stop; the work done is saved.
    """
    ranks, settings = Ranks.from_environment(), Settings.from_environment()
    stop = StopRequest()
    with ExitStack() as stack:
        with reporting_failure(ranks):
            task, network = read_task(untrained_model, training_dataset, validation_dataset, parameters, ranks.world_size)
            gpus = count_gpus()
            facts = facts_to_share(task, precision_for(ranks, gpus, settings, min(task.preprocessing.size)))
        ranks, device = stack.enter_context(ranks.connected(gpus, timeouts_of(settings), facts))
        output = TrainingOutput(trained_model, task.configuration, training_dataset)
        if ranks.broadcast_from_main(ranks.is_main and output.is_finished()):
            return
        plan = make_plan(task, ranks, device, settings)
        describe(plan)
        if ranks.is_main:
            output.check_room(network)
        if not ranks.broadcast_from_main(not ranks.is_main or output.lock(stack)):
            return
        stack.enter_context(listening(stop, ranks))
        progress = stack.enter_context(Progress(parameters.epochs, len(task.training), ranks))
        trainer = make_trainer(stack, plan, network)
        trainer.callbacks.is_stop_requested = stop.is_made
        resume(trainer, output, untrained_model, plan)
        # after the data workers: MLflow's import starts a process, whose pipes a worker forked meanwhile would keep open for ever
        tracker = stack.enter_context(Tracker(ranks.is_main, trained_model / METRICS))
        saver = None
        if ranks.is_main:
            tracker.resume([(epoch.number, logged(epoch, ranks.world_size)) for epoch in trainer.history], "Valid loss")
            stack.enter_context(output.started(trainer.position(), ranks, stop))
            saver = Saver(output.checkpoints, plan.checkpoint_template, settings.checkpoint_seconds, settings.patience)
            trainer.callbacks = callbacks_of_main(progress, tracker, saver, stop, profile_of(plan, output, trainer), ranks)
        stack.enter_context(ranks.telling())  # the last one, which hears of an error first
        result = train(trainer, task, output, saver)
        ranks.part()
        if saver is not None:
            saver.wait()
            publish(plan, trainer, result, output, tracker)
            progress.result(result, parameters, trained_model)
    if ranks.is_main:
        output.clear()


@contextmanager
def reporting_failure(ranks: Ranks) -> Iterator[None]:
    """Until the ranks have joined: an error here is reported to the others, which would wait for this one."""
    try:
        yield
    except Exception as error:
        ranks.tell_failure(sentence_of(error))
        raise


def timeouts_of(settings: Settings) -> Timeouts:
    return Timeouts(settings.start_timeout, settings.silence_timeout, settings.process_group_timeout)


@contextmanager
def listening(stop: StopRequest, ranks: Ranks) -> Iterator[None]:
    """Listen for signals; before one ends this process in haste, the others are told."""
    in_haste = JobStoppedError("it was asked to stop, and did not do so in time or was asked twice")
    stop.before_end = lambda: ranks.told(in_haste)
    with stop.listened_for():
        yield


def make_trainer(stack: ExitStack, plan: Plan, network: nn.Module) -> Trainer:
    """The trainer with its data workers; what they keep, they keep until the stack is closed."""
    task, ranks = plan.task, plan.ranks
    preprocessing = task.preprocessing
    kept = keep_images(stack, task.training, task.validation, preprocessing, task.parameters.epochs, ranks, plan.settings)
    random_operations, seed = preprocessing.random_operations, task.parameters.torch_seed
    return Trainer(
        network,
        (
            ImageDataset(task.training, preprocessing.prepare, preprocessing.size, random_operations, seed, *kept[0]),
            ImageDataset(task.validation, preprocessing.evaluation, preprocessing.size, (), 0, *kept[1]),
        ),
        task.parameters,
        ranks,
        plan.hardware,
        Recipe(
            Normalize(task.model.mean, task.model.std),
            builders.head(network) if task.has_new_head else None,
            task.class_weights,
        ),
    )


def resume(trainer: Trainer, output: TrainingOutput, untrained_model: Path, plan: Plan) -> None:
    """Have the trainer go on from a checkpoint, where the output or the unfinished one connected as untrained_model has one.

    Raises:
        CheckpointError: it holds something else than this training's state.
    """
    ranks = plan.ranks
    payload = ranks.broadcast_from_main(
        output.find_checkpoint(untrained_model, plan.checkpoint_template) if ranks.is_main else None
    )
    if payload is None:
        return
    try:
        trainer.load(state_of(payload))
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint is not of this training: {' '.join(str(error).split())[:200]}; remove it to start from the beginning"
        ) from error


def callbacks_of_main(
    progress: Progress, tracker: Tracker, saver: Saver, stop: StopRequest, profile: Profile | None, ranks: Ranks
) -> Callbacks:
    """What the main rank does with what the trainer tells."""

    def on_epoch(epoch: EpochResult) -> None:
        progress.epoch(epoch)
        tracker.log_metrics(logged(epoch, ranks.world_size), epoch.number)

    def on_step(images: int, waited: float, computed: float) -> None:
        progress.step(images)
        if profile:
            profile.step(images, waited, computed)

    return Callbacks(
        on_iteration=progress.iteration,
        on_epoch=on_epoch,
        on_slow_rank=progress.slow_rank,
        on_step=on_step,
        on_save=saver.save,
        is_save_due=saver.is_due,
        is_stop_requested=stop.is_made,
    )


def profile_of(plan: Plan, output: TrainingOutput, trainer: Trainer) -> Profile | None:
    """Of some steps, where the operator wants one."""
    if not plan.settings.profile:
        return None
    device, steps = plan.hardware.device, trainer.steps_per_epoch
    return Profile(output.folder / PROFILE, device, steps, lambda: probe(plan.task.training))


def probe(index: ImageIndex) -> Reading:
    """How long some of the images take to be read and to be decoded, each the median."""
    seconds = []
    for row in np.unique(np.linspace(0, len(index) - 1, PROBED, dtype=np.int64)):  # one after the other: each wait counts
        began = time.perf_counter()
        content = index.read(int(row))
        read = time.perf_counter()
        images.decode(content, index.path(int(row)))
        seconds.append((read - began, time.perf_counter() - read))
    return Reading(*(statistics.median(column) for column in zip(*seconds, strict=True)))


def train(trainer: Trainer, task: Task, output: TrainingOutput, saver: Saver | None) -> TrainingResult:
    """Train; a loss that is not finite is told with the network of an earlier epoch."""
    try:
        with in_plain_words(trainer.loader):
            return trainer.train()
    except JobStoppedError:
        if saver is not None:
            saver.wait()
        raise
    except TrainingDivergedError as error:
        if not trainer.ranks.is_main or trainer.best is None:
            raise
        found = trainer.result()
        earlier = output.write_earlier(task.trained(found, trainer.ranks.world_size), found.best.number)
        raise TrainingDivergedError(f"{error.message}; the best network before that is kept in {earlier}") from error


@contextmanager
def in_plain_words(loader: Loader) -> Iterator[None]:
    """Have a lost data worker and a lack of memory told as a person's error.

    Raises:
        DataWorkerError, ModuleOutOfMemoryError: in their place.
    """
    try:
        yield
    except DesignerError:
        raise
    except Exception as error:
        if lost := worker_lost(error):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # that handler would raise again when the other workers end
            raise loader.lost(lost) from error
        if not is_out_of_memory(error):
            raise
        raise ModuleOutOfMemoryError(f"{' '.join(str(error).split())[:200]}; choose a smaller batch_size") from error


def worker_lost(error: BaseException) -> str:
    """What DataLoader says of a worker that ended: its signal handler raises wherever the training is, also in torch's code."""
    return next((str(link) for link in chain_of(error) if "DataLoader worker" in str(link)), "")


def publish(plan: Plan, trainer: Trainer, result: TrainingResult, output: TrainingOutput, tracker: Tracker) -> None:
    """Fit the temperature, leave a report, and write the model, which comes last: without it nothing is finished."""
    task, ranks = plan.task, plan.ranks
    model = task.trained(result, ranks.world_size)
    with best_effort("the temperature and report.html"):
        with in_plain_words(trainer.loader):
            kept = see_validation_images(trainer, model, task.validation)
        model = kept.model
        run = TrainingRun(
            result,
            task.training,
            task.validation,
            with_heat_maps(Photos(kept.images, range(len(kept.images))), kept.predictions, model, plan.hardware.device),
            kept.predictions,
            kept.calibration,
            plan.facts(),
            plan.warnings,
            ranks.world_size,
            task.parameters,
        )
        output.write_report(run, tracker)
    output.write_model(model, result.history)
