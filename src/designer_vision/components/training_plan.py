"""What Train PyTorch Model is about to do: a task, on the ranks and the hardware that this job has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from designer_vision.components.preflight import ADAMW, SGD, advice, warnings_of
from designer_vision.components.training_hardware import choose_hardware, mixed_gpus
from designer_vision.components.training_task import Task, input_of, versions
from designer_vision.data.epoch_order import batches
from designer_vision.formats.image_directory import tell_reading
from designer_vision.runtime.console import numbered, say
from designer_vision.runtime.gpus import describe as describe_device
from designer_vision.runtime.settings import Settings
from designer_vision.training.checkpoint import Manifest, Position
from designer_vision.training.optimizer import ADAMW_LR_SCALE
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware


@dataclass(frozen=True)
class Plan:
    """A training, before its first step.

    Attributes:
        task: what is trained.
        ranks, hardware: this process's place and means.
        settings: the operator's.
        warnings: what may not be meant; the main process's are said and stand in the report.
    """

    task: Task
    ranks: Ranks
    hardware: Hardware
    settings: Settings
    warnings: tuple[str, ...]

    @property
    def precision(self) -> str:
        return str(self.hardware.precision).removeprefix("torch.")

    @property
    def made_by(self) -> dict[str, Any]:
        """What may change when a training is resumed, which then is not bit by bit what it would have been."""
        return versions() | {
            "processes": self.ranks.world_size,
            "precision": self.precision,
            "compiled": self.hardware.compiled,
        }

    @property
    def checkpoint_template(self) -> Manifest:
        """What every checkpoint's manifest says."""
        network = asdict(self.task.model.architecture) | input_of(self.task.model)
        return Manifest(Position(), "", "", self.task.configuration, network, self.made_by)

    def facts(self) -> Mapping[str, Any]:
        """What the report tells of how it was done."""
        left_out = ("classes", "initial weights", "training images", "validation images")
        configuration = self.task.configuration.items()
        told = {name: "none" if value == [] else value for name, value in configuration if name not in left_out}
        first = {name: told.pop(name) for name in ("network", "weights from")}
        means = {"device": self.hardware.device.type, "data workers a process": self.hardware.workers}
        return first | told | self.made_by | means


def make_plan(task: Task, ranks: Ranks, device: torch.device, settings: Settings) -> Plan:
    """Choose the hardware, and see what may go wrong; every rank must ask."""
    parameters = task.parameters
    height, width = task.preprocessing.size
    hardware = choose_hardware(ranks, device, settings, parameters.batch_size * 3 * height * width, min(height, width))
    warnings = mixed_gpus(ranks.all_gather_objects(describe_device(device)))
    if ranks.is_main:
        is_adamw = task.model.architecture.family.has_layer_norm
        warnings += warnings_of(task.training, task.validation, parameters, ranks.world_size, not is_adamw)
        images, classes, rates = len(task.training), len(task.training.classes), ADAMW if is_adamw else SGD
        warnings += advice(images, classes, parameters, ranks.world_size, task.is_from_scratch, rates)
    return Plan(task, ranks, hardware, settings, tuple(warnings))


def describe(plan: Plan) -> None:
    """Say in a few lines what is about to happen."""
    task, ranks, hardware = plan.task, plan.ranks, plan.hardware
    if not ranks.is_main:
        say(f"hardware: {hardware.device} of node {ranks.node}, {plan.precision}, {hardware.workers} data workers")
        return
    model, training, validation, preprocessing = task.model, task.training, task.validation, task.preprocessing
    parameters = task.parameters
    for index in (training, validation):
        tell_reading(index)
    height, width = preprocessing.size
    origin = task.configuration["weights from"]
    say(f"network: {model.architecture.model_name}, weights from {origin}, {len(training.classes)} classes")
    if model.is_trained or model.pretrained:
        same = model.labels == training.classes
        head = "kept: the classes are the same" if same else f"replaced by a new one for {len(training.classes)} classes"
        say(f"all layers of that network are kept and trained further; its head is {head}")
    say(f"images: {len(training)} to train, {len(validation)} to validate, {height} x {width} pixels")
    steps = len(batches(np.arange(-(-len(training) // ranks.world_size)), parameters.batch_size))
    say(f"training: up to {numbered(parameters.epochs, 'epoch')} of {numbered(steps, 'step')}")
    if model.architecture.family.has_layer_norm:
        times = f", times the square root of {ranks.world_size} processes" if ranks.world_size > 1 else ""
        say(f"optimizer: AdamW at {ADAMW_LR_SCALE:g} times learning_rate{times}, as networks with layer norm want it")
    if weights := task.class_weights:
        lightest, heaviest = (training.classes[weights.index(weight)] for weight in (min(weights), max(weights)))
        say(
            f"weighting {training.weighting}: an image of {lightest} counts {min(weights):.2g} times in the loss, "
            f"one of {heaviest} {max(weights):.2g} times"
        )
    if preprocessing.operations:
        say(f"the images have different sizes and no transformation: {preprocessing.operations} is applied to each")
    if preprocessing.random_operations:
        say(f"redrawn every epoch: {preprocessing.random_operations}")
    say(
        f"hardware: {ranks.world_size} process{'es' if ranks.world_size > 1 else ''} on {hardware.device.type}, "
        f"{plan.precision}, {hardware.workers} data workers each"
    )
    for warning in plan.warnings:
        say(f"warning: {warning}")
