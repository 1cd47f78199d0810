"""Train PyTorch Model: train an untrained, pretrained or trained network on labelled images, on one or many processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from designer_vision import networks
from designer_vision.cache import PixelCache, Sizes, shared_cache
from designer_vision.components.preflight import check_batches, warn
from designer_vision.components.training_output import (
    check_room,
    describe_configuration,
    find_checkpoint,
    input_of,
    is_already_trained,
    read_start,
    versions,
)
from designer_vision.console import say
from designer_vision.directories.image_directory import read_image_directory
from designer_vision.directories.image_index import ImageIndex
from designer_vision.directories.manifest import publishing
from designer_vision.directories.model_directory import Model, write_model_directory, write_model_files
from designer_vision.errors import (
    CheckpointError,
    DesignerError,
    FailedToWriteOutputsError,
    InvalidDatasetError,
    JobStoppedError,
    ModuleOutOfMemoryError,
    TrainingDivergedError,
    is_out_of_memory,
)
from designer_vision.loader import ImageDataset, batches, worker_count, workers_that_fit
from designer_vision.machine import available_cpus, available_memory, free_shared_memory, keep_freed_memory, open_files_allowed
from designer_vision.precision import choose_precision
from designer_vision.settings import Settings
from designer_vision.tracking import Tracker
from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints, Manifest, Position, Saver, state_of
from designer_vision.training.parameters import Parameters
from designer_vision.training.preparation import Preparation, plan_preparation
from designer_vision.training.progress import Progress
from designer_vision.training.ranks import Ranks
from designer_vision.training.records import Epoch, Listener, Result
from designer_vision.training.stopping import StopRequest
from designer_vision.training.trainer import Hardware, Trainer

METRICS = "metrics.jsonl"
"""Of every epoch, a line each, whether MLflow took them or not."""
OWN_FILES, FILES_OF_A_WORKER = 48, 16
SHARE_OF_SHARED_MEMORY = 0.5
SHARE_OF_MEMORY = 0.25
"""Of what is free at the start, for decoded images: the network and the page cache need the rest."""


def main(
    untrained_model: Path, training_dataset: Path, validation_dataset: Path, parameters: Parameters, trained_model: Path
) -> None:
    """Train, and write the best epoch's network to `trained_model`.

    Every process of the job calls this with the same arguments; the main one writes. Where `trained_model`, or else
    `untrained_model`, holds the checkpoints of the same training, it goes on from the last one.

    Raises:
        DesignerError: an input cannot be used, the processes do not fit the machine or each other, the output holds another
            training, or the loss is not finite.
        JobStoppedError: a signal asked to stop; the work done is saved.
    """
    ranks = Ranks.from_environment()
    settings = Settings.from_environment()
    model, source = read_start(untrained_model)
    labels = tuple(source.configuration["classes"]) if source else model.labels
    training, validation = with_same_classes(
        labels, read_image_directory(training_dataset).labeled(), read_image_directory(validation_dataset).labeled()
    )
    preparation = plan_preparation(training.folder, training.known_sizes(), training.transformation, training.random_operations)
    check_batches(model.architecture, training, preparation, parameters.batch_size, ranks.world_size)
    network = initial_network(model, training.classes, parameters.torch_seed)
    configuration = describe_configuration(parameters, model, network, training, validation, preparation)
    if source is not None:  # its initial weights were another folder's
        configuration["initial weights"] = source.configuration.get("initial weights")
    timeouts = settings.start_timeout, settings.process_group_timeout
    stop = StopRequest()
    with ExitStack() as stack:
        facts = {name: str(value) for name, value in (configuration | versions()).items()}
        ranks, device = stack.enter_context(ranks.connected(torch.cuda.device_count(), *timeouts, facts))
        if ranks.told_by_main(ranks.is_main and is_already_trained(trained_model, configuration)):
            return
        height, width = preparation.size
        hardware = choose_hardware(ranks, device, settings, parameters.batch_size * 3 * height * width)
        made_by = versions() | {"processes": ranks.world_size, "precision": str(hardware.precision).removeprefix("torch.")}
        template = Manifest(Position(), "", "", configuration, asdict(model.architecture) | input_of(model), made_by)
        checkpoints = Checkpoints(trained_model / CHECKPOINT)
        if ranks.is_main:
            describe(model, training, validation, preparation, parameters, ranks, hardware)
            warn(training, validation, parameters, ranks.world_size)
            check_room(trained_model, network)
            stack.enter_context(publishing(trained_model, kept=(CHECKPOINT,)))
        payload = ranks.told_by_main(find_checkpoint(checkpoints, untrained_model, template) if ranks.is_main else None)
        stack.enter_context(stop.listened_for())
        tracker = stack.enter_context(Tracker(ranks.is_main, trained_model / METRICS))
        progress = stack.enter_context(Progress(parameters.epochs, len(training), ranks))
        caches = keep_decoded(stack, training, validation, preparation, parameters.epochs, ranks, settings)
        random_operations, seed = preparation.random_operations, parameters.torch_seed
        trainer = Trainer(
            network,
            ImageDataset(training, preparation.prepare, preparation.size, random_operations, seed, caches[0]),
            ImageDataset(validation, preparation.evaluation, preparation.size, cache=caches[1]),
            parameters,
            ranks,
            hardware,
            model.mean,
            model.std,
        )
        trainer.listener.is_stop_requested = stop.is_made
        if payload is not None:
            load(trainer, payload)
        if ranks.is_main:
            tracker.resume([(epoch.number, epoch.metrics()) for epoch in trainer.history], "Valid loss")
            checkpoints.note_start(trainer.position())
            saver = Saver(checkpoints, template, settings.checkpoint_seconds, settings.patience)
            trainer.listener = tell(progress, tracker, saver, stop)

        def as_model(result: Result) -> Model:
            metrics = {"processes": ranks.world_size, "epoch": result.best.number, **result.best.metrics()}
            return Model(
                model.architecture,
                result.weights,
                labels=training.classes,
                mean=model.mean,
                std=model.std,
                operations=preparation.evaluation.operations,
                size=preparation.size,
                training=asdict(parameters) | metrics,
                configuration=configuration,
            )

        def keep_best() -> Path:
            folder = trained_model / f"best_epoch_{trainer.result().best.number}"
            write_model_directory(folder, as_model(trainer.result()), training_dataset)
            return folder

        try:
            result = train(trainer, keep_best)
        except JobStoppedError:
            if ranks.is_main:
                saver.wait()
                checkpoints.note_end()
            raise
        if ranks.is_main:
            saver.wait()
            export(trained_model, as_model(result), result.history, training_dataset)
            progress.result(result, parameters, trained_model)
    if ranks.is_main:
        shutil.rmtree(trained_model / CHECKPOINT, ignore_errors=True)  # what is left of it a rerun removes


def tell(progress: Progress, tracker: Tracker, saver: Saver, stop: StopRequest) -> Listener:
    """What the main rank does with what the trainer tells."""

    def on_epoch(epoch: Epoch) -> None:
        progress.epoch(epoch)
        tracker.log_metrics(epoch.metrics(), epoch.number)

    return Listener(
        on_iteration=progress.iteration,
        on_epoch=on_epoch,
        on_slow_rank=progress.slow_rank,
        on_step=progress.step,
        on_save=saver.save,
        is_save_due=saver.is_due,
        is_stop_requested=stop.is_made,
    )


def load(trainer: Trainer, payload: bytes) -> None:
    """Have the trainer go on from a checkpoint.

    Raises:
        CheckpointError: it holds something else than this training's state.
    """
    try:
        trainer.load(state_of(payload))
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint is not of this training: {' '.join(str(error).split())[:200]}; remove it to start from the beginning"
        ) from error


def train(trainer: Trainer, keep_best: Callable[[], Path]) -> Result:
    """Train; what goes wrong is told in the person's words, a loss that is not finite with the best earlier epoch."""
    try:
        return trainer.train()
    except TrainingDivergedError as error:
        if not trainer.ranks.is_main or trainer.best is None:
            raise
        raise TrainingDivergedError(f"{error.message}; the best epoch before that is kept in {keep_best()}") from error
    except DesignerError:
        raise
    except Exception as error:
        if lost := worker_lost(error):
            raise trainer.training_loader.lost(lost) from error
        if not is_out_of_memory(error):
            raise
        raise ModuleOutOfMemoryError(f"{' '.join(str(error).split())[:200]}; choose a smaller batch_size") from error


def worker_lost(error: BaseException) -> str:
    """What DataLoader says of a worker that ended: its signal handler raises wherever the training is, also in torch's code."""
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return next((str(link) for link in chain if "DataLoader worker" in str(link)), "")


def export(folder: Path, model: Model, history: Sequence[Epoch], dataset: Path) -> None:
    """Write the model and the epochs' metrics beside the checkpoints, the manifest last."""
    from designer_vision.serving import write_mlflow_files

    lines = [json.dumps({"step": epoch.number, **epoch.metrics()}) for epoch in history]
    try:
        (folder / METRICS).write_text("".join(f"{line}\n" for line in lines))
        write_mlflow_files(folder, model.labels)
        write_model_files(folder, model, dataset)
    except OSError as error:
        raise FailedToWriteOutputsError(
            f"the model cannot be written to {folder}: {error.strerror or error}; the training is kept in its {CHECKPOINT}, "
            "start the same job again to write it"
        ) from error


def choose_hardware(ranks: Ranks, device: torch.device, settings: Settings, batch_bytes: int) -> Hardware:
    """What this process computes with: its GPU, or its share of the node's CPUs."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # images have one size, so the fastest convolution is worth a trial
        gpus = torch.cuda.device_count()
        if ranks.is_main and ranks.local_world_size < gpus:
            say(
                f"warning: {ranks.local_world_size} of the {gpus} GPUs of this node are used; "
                f"set process_count_per_instance to {gpus}"
            )
    else:
        torch.set_num_threads(max(1, available_cpus() // ranks.local_world_size))
        keep_freed_memory()
    wanted = worker_count(available_cpus(), ranks.local_world_size, device, settings.data_workers)
    workers = workers_within_limits(wanted, batch_bytes, ranks)
    return Hardware(device, choose_precision(device, settings.precision), workers, settings.patience)


def workers_within_limits(wanted: int, batch_bytes: int, ranks: Ranks) -> int:
    """As many of the data workers as the system has shared memory and open files for; said, where that is fewer."""
    workers, room, files = wanted, free_shared_memory(), open_files_allowed()
    if room is not None:
        workers = workers_that_fit(wanted, batch_bytes, int(room * SHARE_OF_SHARED_MEMORY) // ranks.local_world_size)
    workers = max(0, min(workers, (files - OWN_FILES) // FILES_OF_A_WORKER))
    if workers < wanted and ranks.is_main:
        say(
            f"warning: {workers} of {wanted} data workers a process fit into {(room or 0) / 1e6:.1f} MB of shared memory "
            f"(more with shm_size in the node's resources) and {files} open files (ulimit -n)"
        )
    return workers


def keep_decoded(
    stack: ExitStack,
    training: ImageIndex,
    validation: ImageIndex,
    preparation: Preparation,
    epochs: int,
    ranks: Ranks,
    settings: Settings,
) -> tuple[PixelCache | None, PixelCache | None]:
    """Caches of the training and the validation images, shared by the processes of this node while the stack is open."""
    budget = 0
    if ranks.is_first_of_node and epochs > 1:
        forced = settings.cache_megabytes
        budget = int(available_memory() * SHARE_OF_MEMORY) if forced is None else forced * 10**6
    fitted = np.array([preparation.size], np.int32)
    prepared = np.broadcast_to(fitted, (len(training), 2)) if preparation.operations else training.all_sizes()

    def cache(sizes: Sizes, budget: int) -> PixelCache | None:
        return stack.enter_context(shared_cache(sizes, budget, ranks.is_first_of_node, ranks.told_by_first_of_node))

    to_train = cache(prepared, budget)
    to_validate = cache(np.broadcast_to(fitted, (len(validation), 2)), budget - (to_train.size if to_train else 0))
    if ranks.is_main:
        for name, images, kept in (("train", training, to_train), ("validate", validation, to_validate)):
            if kept is not None:
                say(f"kept in memory once decoded: {len(kept)} of {len(images)} images to {name}, {kept.size / 1e6:.0f} MB")
    return to_train, to_validate


def with_same_classes(labels: tuple[str, ...], training: ImageIndex, validation: ImageIndex) -> tuple[ImageIndex, ImageIndex]:
    """Both sets with the network's classes: matched by name, whatever numbers each folder has.

    Args:
        labels: of a model to fine-tune, in its order; it is kept where its classes are the training set's.
        training: its classes decide, otherwise in their own order.
        validation: may lack some of them.

    Raises:
        InvalidDatasetError: training has only one class, or validation has one that training lacks.
    """
    if len(training.classes) < 2:
        raise InvalidDatasetError(f"{training.folder} has one class, {training.classes[0]!r}; at least two are needed to train")
    classes = labels if set(labels) == set(training.classes) else training.classes
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in validation.classes if name not in numbers]
    if unknown:
        raise InvalidDatasetError(
            f"{validation.folder} has classes that {training.folder} does not have: {', '.join(unknown[:5])}; "
            "both must come from the same set of classes"
        )

    def renumbered(index: ImageIndex) -> ImageIndex:
        return index.relabeled(classes, np.array([numbers[name] for name in index.classes], dtype=np.int32)[index.labels])

    return renumbered(training), renumbered(validation)


def initial_network(model: Model, classes: tuple[str, ...], seed: int) -> nn.Module:
    """The network to start from: the same on every rank.

    An untrained one draws its weights from the seed; a pretrained or trained one keeps its own, with a new head unless
    the classes are the same.
    """
    if not model.is_trained and not model.pretrained:
        return networks.build(model.architecture, len(classes), seed)
    network = model.network()
    if model.labels != classes:
        networks.replace_head(network, len(classes), seed)
    return network


def describe(
    model: Model,
    training: ImageIndex,
    validation: ImageIndex,
    preparation: Preparation,
    parameters: Parameters,
    ranks: Ranks,
    hardware: Hardware,
) -> None:
    """Say in a few lines what is about to happen."""
    origin = "a trained model" if model.is_trained else "ImageNet" if model.pretrained else f"seed {parameters.random_seed}"
    height, width = preparation.size
    precision = str(hardware.precision).removeprefix("torch.")
    say(f"network: {model.architecture.model_name}, weights from {origin}, {len(training.classes)} classes")
    say(f"images: {len(training)} to train, {len(validation)} to validate, {height} x {width} pixels")
    steps = len(batches(np.arange(-(-len(training) // ranks.world_size)), parameters.batch_size))
    say(f"training: {parameters.epochs} epochs of {steps} steps at most")
    if preparation.operations:
        say(f"the images have different sizes and no transformation: {preparation.operations} is applied to each")
    if preparation.random_operations:
        say(f"drawn anew in every epoch: {preparation.random_operations}")
    say(
        f"hardware: {ranks.world_size} process{'es' if ranks.world_size > 1 else ''} on {hardware.device.type}, {precision}, "
        f"{hardware.workers} data workers each"
    )
