"""Train PyTorch Model: train an untrained, pretrained or trained network on labelled images, on one or many processes."""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from designer_vision.components.kept_network import see_validation_images
from designer_vision.components.preflight import advice, check_batches, warnings_of
from designer_vision.components.training_hardware import choose_hardware, keep_images, mixed_gpus, precision_for
from designer_vision.components.training_output import (
    check_room,
    describe_configuration,
    find_checkpoint,
    input_of,
    is_already_trained,
    read_start,
    versions,
)
from designer_vision.data import images
from designer_vision.data.loader import ImageDataset, Loader, batches
from designer_vision.data.preprocessing import Preprocessing, plan_preprocessing
from designer_vision.formats.image_directory import read_image_directory, tell_reading
from designer_vision.formats.image_index import ImageIndex
from designer_vision.formats.manifest import publishing
from designer_vision.formats.model_directory import Model, write_model_directory, write_model_files
from designer_vision.networks import builders
from designer_vision.report.training_report import TrainingRun, write_training_report
from designer_vision.runtime.console import best_effort, numbered, say, within_a_second
from designer_vision.runtime.errors import (
    CheckpointError,
    DesignerError,
    FailedToWriteOutputsError,
    InvalidDatasetError,
    JobStoppedError,
    LostRankError,
    ModuleOutOfMemoryError,
    TrainingDivergedError,
    chain_of,
    is_out_of_memory,
)
from designer_vision.runtime.gpus import count_gpus
from designer_vision.runtime.gpus import describe as describe_device
from designer_vision.runtime.settings import Settings
from designer_vision.runtime.tracking import Tracker
from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints, Manifest, Position, Saver, state_of
from designer_vision.training.parameters import Parameters
from designer_vision.training.profiling import Profile, Reading
from designer_vision.training.progress import Progress
from designer_vision.training.ranks import Ranks, Timeouts, sentence_of
from designer_vision.training.results import Callbacks, EpochResult, TrainingResult
from designer_vision.training.stopping import StopRequest
from designer_vision.training.trainer import Hardware, Trainer

PROFILE = "profile"
PROBED = 16
BEGINNING = ("initial weights", "weights from", "new head")
"""What a configuration says of the weights that a training began with, which one that goes on elsewhere takes over."""
METRICS = "metrics.jsonl"
"""Of every epoch, a line each, whether MLflow took them or not."""


@dataclass(frozen=True)
class Task:
    """What is trained on what: the same on every rank.

    Attributes:
        model: to start from.
        training, validation: with the same classes.
        preprocessing: of their images.
        parameters: the person's seven.
        configuration: all that decides what comes of it.
    """

    model: Model
    training: ImageIndex
    validation: ImageIndex
    preprocessing: Preprocessing
    parameters: Parameters
    configuration: Mapping[str, Any]

    @property
    def has_new_head(self) -> bool:
        """Whether all layers but the last have learned before."""
        return self.configuration.get("new head") is True

    @property
    def is_from_scratch(self) -> bool:
        return str(self.configuration["weights from"]).startswith("seed")

    def trained(self, result: TrainingResult, processes: int) -> Model:
        """The model that came of it."""
        metrics = {"processes": processes, "epoch": result.best.number, **result.best.metrics()}
        return Model(
            self.model.architecture,
            result.weights,
            labels=self.training.classes,
            mean=self.model.mean,
            std=self.model.std,
            operations=self.preprocessing.evaluation.operations,
            size=self.preprocessing.size,
            training=asdict(self.parameters) | metrics,
            configuration=self.configuration,
        )


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
    ranks = Ranks.from_environment()
    settings = Settings.from_environment()
    try:
        task, network = read_task(untrained_model, training_dataset, validation_dataset, parameters, ranks.world_size)
        gpus = count_gpus()
        facts = facts_to_share(task, precision_for(ranks, gpus, settings))
    except Exception as error:
        ranks.tell_failure(sentence_of(error))
        raise
    timeouts = Timeouts(settings.start_timeout, settings.silence_timeout, settings.process_group_timeout)
    stop = StopRequest()
    with ExitStack() as stack:
        ranks, device = stack.enter_context(ranks.connected(gpus, timeouts, facts))
        if ranks.broadcast_from_main(ranks.is_main and is_already_trained(trained_model, task.configuration)):
            return
        height, width = task.preprocessing.size
        hardware = choose_hardware(ranks, device, settings, parameters.batch_size * 3 * height * width)
        made_by = versions() | {
            "processes": ranks.world_size,
            "precision": str(hardware.precision).removeprefix("torch."),
            "compiled": hardware.compiled,
        }
        warnings = mixed_gpus(ranks.all_gather_objects(describe_device(device)))
        if ranks.is_main:
            warnings += warnings_of(task.training, task.validation, parameters, ranks.world_size)
            warnings += advice(len(task.training), len(task.training.classes), parameters, ranks.world_size, task.is_from_scratch)
            describe(task, ranks, hardware, warnings)
            check_room(trained_model, network)
        else:
            say(f"hardware: {device} of node {ranks.node}, {made_by['precision']}, {hardware.workers} data workers")
        if ranks.broadcast_from_main(ranks.is_main and is_finished_meanwhile(stack, trained_model, task.configuration)):
            return
        checkpoints = Checkpoints(trained_model / CHECKPOINT)
        network_of = asdict(task.model.architecture) | input_of(task.model)
        template = Manifest(Position(), "", "", task.configuration, network_of, made_by)
        in_haste = JobStoppedError("it was asked to stop, and did not in time or was asked twice")
        stop.before_end = lambda: ranks.told(in_haste)
        stack.enter_context(stop.listened_for())
        progress = stack.enter_context(Progress(parameters.epochs, len(task.training), ranks))
        trainer = make_trainer(stack, task, network, ranks, hardware, settings)
        trainer.callbacks.is_stop_requested = stop.is_made
        go_on(
            trainer, ranks.broadcast_from_main(find_checkpoint(checkpoints, untrained_model, template) if ranks.is_main else None)
        )
        # after the data workers: MLflow's import starts a process, whose pipes a worker forked meanwhile would keep open for ever
        tracker = stack.enter_context(Tracker(ranks.is_main, trained_model / METRICS))
        if ranks.is_main:
            tracker.resume([(epoch.number, logged(epoch, ranks.world_size)) for epoch in trainer.history], "Valid loss")
            stack.enter_context(started(checkpoints, trainer.position(), ranks, stop))
            saver = Saver(checkpoints, template, settings.checkpoint_seconds, settings.patience)
            profile = None
            if settings.profile:
                profile = Profile(trained_model / PROFILE, device, trainer.steps_per_epoch, lambda: probe(task.training))
            trainer.callbacks = tell(progress, tracker, saver, stop, ranks.world_size, profile)
        stack.enter_context(ranks.telling())  # the last one, which hears of an error first

        def keep_best() -> Path:
            folder = trained_model / f"best_epoch_{trainer.result().best.number}"
            write_model_directory(folder, task.trained(trainer.result(), ranks.world_size), training_dataset)
            return folder

        try:
            result = train(trainer, keep_best)
        except JobStoppedError:
            if ranks.is_main:
                saver.wait()
            raise
        ranks.part()
        if ranks.is_main:
            saver.wait()
            model = task.trained(result, ranks.world_size)
            with best_effort("the temperature and report.html"):
                with in_plain_words(trainer.loader):
                    kept = see_validation_images(trainer, model, task.validation)
                model = kept.model
                run = TrainingRun(
                    result,
                    task.training,
                    task.validation,
                    kept.images,
                    kept.predictions,
                    kept.calibration,
                    facts_of(task.configuration, made_by, hardware),
                    warnings,
                    ranks.world_size,
                    parameters,
                )
                report(trained_model, run, tracker)
            export(trained_model, model, result.history, training_dataset)
            progress.result(result, parameters, trained_model)
    if ranks.is_main:
        shutil.rmtree(trained_model / CHECKPOINT, ignore_errors=True)  # what is left of it a rerun removes


def read_task(
    untrained_model: Path, training_dataset: Path, validation_dataset: Path, parameters: Parameters, processes: int
) -> tuple[Task, nn.Module]:
    """What to train, and the network to begin with.

    Raises:
        DesignerError: an input cannot be used.
    """
    model, source = read_start(untrained_model)
    labels = tuple(source.configuration["classes"]) if source else model.labels
    training, validation = with_same_classes(
        labels,
        read_image_directory(training_dataset).labeled(),
        read_image_directory(validation_dataset, original_names=True).labeled(),
    )
    preprocessing = plan_preprocessing(
        training.folder, training.known_sizes(), training.transformation, training.random_operations
    )
    check_batches(model.architecture, training, preprocessing, parameters.batch_size, processes)
    network = initial_network(model, training.classes, parameters.torch_seed)
    configuration = describe_configuration(parameters, model, network, training, validation, preprocessing)
    configuration["weights from"] = origin_of(model, parameters)
    if (model.is_trained or model.pretrained) and model.labels != training.classes:
        configuration["new head"] = True
    if source is not None:  # it began from another folder's weights
        configuration |= {name: source.configuration[name] for name in BEGINNING if name in source.configuration}
    return Task(model, training, validation, preprocessing, parameters, configuration), network


def facts_to_share(task: Task, precision: str) -> dict[str, str]:
    """What must be the same on every rank, by name."""
    facts = {name: str(value) for name, value in (dict(task.configuration) | versions()).items()}
    outlines = {"training images": task.training.outline, "validation images": task.validation.outline}
    return facts | outlines | {"precision": precision}


def is_finished_meanwhile(stack: ExitStack, folder: Path, configuration: Mapping[str, Any]) -> bool:
    """Begin to write the output, until the stack is closed; true where another job, whose lock was waited for, has finished it.

    Raises:
        FailedToWriteOutputsError: it cannot be written.
    """
    try:
        stack.enter_context(publishing(folder, kept=(CHECKPOINT,)))
    except FailedToWriteOutputsError:
        if is_already_trained(folder, configuration):
            return True
        raise
    return False


def make_trainer(
    stack: ExitStack, task: Task, network: nn.Module, ranks: Ranks, hardware: Hardware, settings: Settings
) -> Trainer:
    """The trainer with its data workers; what they keep, they keep until the stack is closed."""
    preprocessing = task.preprocessing
    kept = keep_images(stack, task.training, task.validation, preprocessing, task.parameters.epochs, ranks, settings)
    random_operations, seed = preprocessing.random_operations, task.parameters.torch_seed
    return Trainer(
        network,
        ImageDataset(task.training, preprocessing.prepare, preprocessing.size, random_operations, seed, *kept[0]),
        ImageDataset(task.validation, preprocessing.evaluation, preprocessing.size, (), 0, *kept[1]),
        task.parameters,
        ranks,
        hardware,
        task.model.mean,
        task.model.std,
        new_head=builders.head(network) if task.has_new_head else None,
    )


@contextmanager
def started(checkpoints: Checkpoints, position: Position, ranks: Ranks, stop: StopRequest) -> Iterator[None]:
    """Note that a training goes on from a position, until it ends with a word: only starts that ended without one are counted.

    Where a rank ended without one, the others' word that it is lost is none.

    Raises:
        CheckpointError: too many did.
    """
    checkpoints.note_start(position)

    def note_end(error: BaseException | None = None) -> None:
        if not isinstance(error, LostRankError) or error.was_told:
            within_a_second(checkpoints.note_end)

    others_are_told = stop.before_end

    def hurry() -> None:
        others_are_told()
        note_end()

    stop.before_end = hurry
    if ranks.watcher is not None:
        ranks.watcher.before_end = note_end
    try:
        yield
    except BaseException as error:
        note_end(ranks.loss(error) or error)
        raise


def tell(
    progress: Progress, tracker: Tracker, saver: Saver, stop: StopRequest, processes: int, profile: Profile | None
) -> Callbacks:
    """What the main rank does with what the trainer tells."""

    def on_epoch(epoch: EpochResult) -> None:
        progress.epoch(epoch)
        tracker.log_metrics(logged(epoch, processes), epoch.number)

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


def logged(epoch: EpochResult, processes: int) -> dict[str, float]:
    """The metrics of an epoch, for MLflow and `metrics.jsonl`."""
    return epoch.metrics() | epoch.seconds() | {"Train images per second and process": epoch.images_per_second / processes}


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


def report(folder: Path, run: TrainingRun, tracker: Tracker) -> None:
    """Leave something to look at, here and in MLflow."""
    calibration = run.calibration
    metrics = {"Best epoch": run.result.best.number, "Calibration error": calibration.after.error}
    if calibration.refusal:
        say(f"probabilities are left as they are, without a temperature: {calibration.refusal}")
    else:
        metrics |= {"Temperature": calibration.temperature, "Calibration error before": calibration.before.error}
        say(
            f"probabilities: a temperature of {calibration.temperature:.3g} takes their expected calibration error from "
            f"{calibration.before.error:.1%} to {calibration.after.error:.1%} (chance alone: {calibration.after.chance:.1%})"
        )
    tracker.log_metrics(metrics)
    with best_effort("report.html"):
        for path in write_training_report(folder, run):
            tracker.log_artifact(path)


def go_on(trainer: Trainer, payload: bytes | None) -> None:
    """Have the trainer go on from a checkpoint, where there is one.

    Raises:
        CheckpointError: it holds something else than this training's state.
    """
    if payload is None:
        return
    try:
        trainer.load(state_of(payload))
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint is not of this training: {' '.join(str(error).split())[:200]}; remove it to start from the beginning"
        ) from error


def train(trainer: Trainer, keep_best: Callable[[], Path]) -> TrainingResult:
    """Train; a loss that is not finite is told with the network of an earlier epoch."""
    try:
        with in_plain_words(trainer.loader):
            return trainer.train()
    except TrainingDivergedError as error:
        if not trainer.ranks.is_main or trainer.best is None:
            raise
        raise TrainingDivergedError(f"{error.message}; the best network before that is kept in {keep_best()}") from error


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


def export(folder: Path, model: Model, history: Sequence[EpochResult], dataset: Path) -> None:
    """Write the model and the epochs' metrics beside the checkpoints, the manifest last."""
    from designer_vision.inference.serving import write_mlflow_files

    lines = [json.dumps({"step": epoch.number, **logged(epoch, model.training["processes"])}) for epoch in history]
    try:
        (folder / METRICS).write_text("".join(f"{line}\n" for line in lines))
        write_mlflow_files(folder, model.labels)
        write_model_files(folder, model, dataset)
    except OSError as error:
        raise FailedToWriteOutputsError(
            f"the model cannot be written to {folder}: {error.strerror or error}; the training is kept in its {CHECKPOINT}, "
            "start the same job again to write it"
        ) from error


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

    An untrained one draws its weights from the seed; a pretrained or trained one keeps its own, with a new head of zeros unless
    the classes are the same.
    """
    if not model.is_trained and not model.pretrained:
        return builders.build(model.architecture, len(classes), seed)
    network = model.network()
    if model.labels != classes:
        builders.replace_head(network, len(classes))
    return network


def describe(task: Task, ranks: Ranks, hardware: Hardware, warnings: Sequence[str]) -> None:
    """Say in a few lines what is about to happen."""
    model, training, validation, preprocessing = task.model, task.training, task.validation, task.preprocessing
    parameters = task.parameters
    for index in (training, validation):
        tell_reading(index)
    height, width = preprocessing.size
    precision = str(hardware.precision).removeprefix("torch.")
    origin = task.configuration["weights from"]
    say(f"network: {model.architecture.model_name}, weights from {origin}, {len(training.classes)} classes")
    if model.is_trained or model.pretrained:
        same = model.labels == training.classes
        head = "kept: the classes are the same" if same else f"replaced by a new one for {len(training.classes)} classes"
        say(f"of that network all layers are kept and trained further; its head is {head}")
    say(f"images: {len(training)} to train, {len(validation)} to validate, {height} x {width} pixels")
    steps = len(batches(np.arange(-(-len(training) // ranks.world_size)), parameters.batch_size))
    say(f"training: up to {numbered(parameters.epochs, 'epoch')} of {numbered(steps, 'step')}")
    if preprocessing.operations:
        say(f"the images have different sizes and no transformation: {preprocessing.operations} is applied to each")
    if preprocessing.random_operations:
        say(f"redrawn every epoch: {preprocessing.random_operations}")
    say(
        f"hardware: {ranks.world_size} process{'es' if ranks.world_size > 1 else ''} on {hardware.device.type}, {precision}, "
        f"{hardware.workers} data workers each"
    )
    for warning in warnings:
        say(f"warning: {warning}")


def origin_of(model: Model, parameters: Parameters) -> str:
    """Where the initial weights come from."""
    return "a trained model" if model.is_trained else "ImageNet" if model.pretrained else f"seed {parameters.random_seed}"


def facts_of(configuration: Mapping[str, Any], made_by: Mapping[str, Any], hardware: Hardware) -> dict[str, Any]:
    """What the report tells of how it was done."""
    left_out = ("classes", "initial weights", "training images", "validation images")
    told = {name: "none" if value == [] else value for name, value in configuration.items() if name not in left_out}
    means = {"device": hardware.device.type, "data workers a process": hardware.workers}
    first = {name: told.pop(name) for name in ("network", "weights from")}
    return first | told | dict(made_by) | means
