"""What Train PyTorch Model leaves to look at: how well, where it is wrong, was it still improving, was the hardware busy."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.calibration import Calibration
from designer_vision.inference.evaluation import MOST_CLASSES, Evaluation, Predictions, balanced_accuracy, evaluate, known_figures
from designer_vision.report.files import write_csv, write_report
from designer_vision.report.mistakes import Photos, find_mistakes, find_right
from designer_vision.report.page import Page, Section
from designer_vision.report.pictures import draw_confusion, draw_curves, draw_mistakes, draw_reliability
from designer_vision.report.sections import (
    classes_section,
    confusion_section,
    mistakes_section,
    percent,
    reliability_section,
    right_section,
    supports,
)
from designer_vision.runtime.console import clock
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.training.parameters import Parameters
from designer_vision.training.results import EpochResult, TrainingResult

FOLDER = "report"
"""Of the pictures and tables, in the model's folder."""
MUCH_WAITING = 0.1
"""Of the training's time, for images: more processors could read faster."""
START_SECONDS = 5
"""Data workers take as long to start: what a training of a minute waits for says nothing of a longer one."""
OVERFITTED = 1.1
"""The validation loss of the last epoch is so many times the lowest one."""
EXPLODED, EXPLODED_AFTER = 1.5, 3
"""The training loss of the first epoch is so many times that of a guess; the validation loss after it."""
EVEN = 1.2
"""Up to so many times its fair share of the images, the largest class is no better guess than any other."""
MOST_EPOCHS = 100
AT_A_LIMIT = " The fit ended at the limit of what is sensible: these probabilities say little."
OF_THE_MAIN_PROCESS = "Main process only. Saving is copying a checkpoint; checkpoints are written in the background."


@dataclass(frozen=True)
class TrainingRun:
    """What is told of a training.

    Attributes:
        result: its epochs.
        training, validation: the images, with the network's classes.
        photos: those validation images that the kept network has seen once more, all of them unless they are very many.
        predictions: of these.
        calibration: of their probabilities.
        facts: names and values of the configuration, the versions and the hardware, as they shall be shown.
        warnings: said before it began.
        processes: that trained.
        parameters: the person's seven.
    """

    result: TrainingResult
    training: ImageIndex
    validation: ImageIndex
    photos: Photos
    predictions: Predictions
    calibration: Calibration
    facts: Mapping[str, Any]
    warnings: Sequence[str]
    processes: int
    parameters: Parameters

    @property
    def tells_top5(self) -> bool:
        """Of five classes or fewer every image's label is among the first five."""
        return len(self.validation.classes) > 5


def write_training_report(folder: Path, run: TrainingRun) -> list[Path]:
    """Write `report.html` into the model's folder, and its pictures and tables into `report/` there.

    Returns:
        The files, for MLflow.

    Raises:
        InvalidDatasetError: there are so many classes that their matrix would take gigabytes.
    """
    predictions = run.predictions
    if len(predictions.labels) > MOST_CLASSES:
        raise InvalidDatasetError(f"{len(predictions.labels):,} classes, expected at most {MOST_CLASSES:,} to evaluate")
    evaluation = evaluate(predictions)
    mistakes = find_mistakes(predictions, run.photos)
    pictures = {
        "curves.png": draw_curves(run.result.history, run.result.best, run.tells_top5),
        "confusion_matrix.png": draw_confusion(evaluation),
    }
    curves = {"temperature 1": run.calibration.before, "as scored": run.calibration.after}
    pictures["reliability.png"] = draw_reliability(curves)
    if mistakes:
        pictures["mistakes.png"] = draw_mistakes(mistakes)
    count = len(run.photos.index)
    are_all = count == len(run.validation)
    counts = {"training": _counts(run.training), "validation" if are_all else "scored": supports(evaluation)}
    (folder / FOLDER).mkdir(exist_ok=True)
    table = write_csv(folder / FOLDER / "per_class.csv", *_per_class(evaluation, counts))
    wrong = int((~predictions.right).sum())
    epochs = _epochs(run)
    page = Page(
        f"Training of {run.facts['network']}",
        f"{len(run.training):,} images to train, {len(run.validation):,} to validate"
        f"{'' if are_all else f' ({count:,} of them are counted below)'}, {len(evaluation.labels):,} classes",
        _tiles(run),
        [quality(run), *balance(run), *remarks(run.result.history, run.parameters, len(run.training.classes))],
        run.warnings,
        [
            Section("Epochs", picture=pictures["curves.png"], header=epochs[0], rows=epochs[1:]),
            confusion_section(evaluation, pictures["confusion_matrix.png"]),
            mistakes_section(mistakes, wrong),
            *right_section(find_right(predictions, run.photos), mistakes),
            reliability_section(
                calibration_text(run.calibration), run.calibration.after, run.calibration.thresholds, pictures["reliability.png"]
            ),
            classes_section(evaluation, counts, f"{FOLDER}/per_class.csv"),
            Section("Where the time went", header=SECONDS_HEADER, rows=_seconds(run.result.history), note=OF_THE_MAIN_PROCESS),
            Section("Configuration", rows=[(name, str(value)) for name, value in run.facts.items()]),
            *_how_to(folder),
        ],
    )
    return [*write_report(folder, page, pictures, folder / FOLDER), table]


def calibration_text(calibration: Calibration) -> str:
    """What was done for the probabilities, and what came of it."""
    if calibration.refusal:
        return f"They are as the network gives them: no temperature was fitted, because {calibration.refusal}."
    return (
        f"A temperature of {calibration.temperature:.3g} was fitted to these images; it changes no prediction. The expected "
        f"calibration error was {percent(calibration.before.error)} without it, and is {percent(calibration.after.error)}, where "
        f"chance alone gives {percent(calibration.after.chance)} for so many images; on other images it may be higher."
        f"{AT_A_LIMIT if calibration.is_at_a_limit else ''}"
    )


def quality(run: TrainingRun) -> str:
    """How good the kept network is beside a guess; where it is hardly better, what to try."""
    counts = np.bincount(run.validation.labels, minlength=len(run.validation.classes))
    images, top1 = len(run.validation), run.result.best.validation.top1
    share = float(counts.max() / images)
    is_even = share < EVEN / len(counts)
    guess = "guessing" if is_even else f"always predicting the largest class, {run.validation.classes[counts.argmax()]}"
    would = f"{guess}{'' if is_even else ','} would get {percent(share)}"
    if top1 > share + np.sqrt(share * (1 - share) / images):  # one standard error: a guess can be lucky on few images
        return f"{percent(top1)} of the {images:,} validation images are predicted correctly; {would}."
    rate = "a lower" if explosion(run.result.history[0], len(counts)) else "another"
    pretrained = "pretrained weights, " if str(run.facts.get("weights from", "seed")).startswith("seed") else ""
    return (
        f"The network is {'hardly' if top1 > share else 'no'} better than {guess}: {percent(top1)} of the {images:,} validation "
        f"images are predicted correctly; {would}. Try more epochs, {pretrained}or {rate} learning_rate, and look at "
        "the labels of some images."
    )


def balance(run: TrainingRun) -> list[str]:
    """What is left where every class counts alike, of a training that was weighted."""
    if run.training.weighting == "none":
        return []
    return [
        f"Balanced accuracy, the mean over the classes of the share predicted correctly, is "
        f"{percent(balanced_accuracy(run.predictions))} (weighting {run.training.weighting})."
    ]


def explosion(first: EpochResult, classes: int) -> str:
    """How far the first epoch's loss is above that of a guess at one of the classes; empty where it is not, or not far."""
    guessing = math.log(classes)
    for name, loss, most in (("training", first.training.loss, EXPLODED), ("validation", first.validation.loss, EXPLODED_AFTER)):
        if loss > most * guessing:
            return f"The {name} loss of the first epoch was {loss:.2g}, where guessing gives {guessing:.2g}"
    return ""


def remarks(history: Sequence[EpochResult], parameters: Parameters, classes: int) -> list[str]:
    """What a person who has seen many trainings would say of this one's curves, in the order of its weight."""
    epochs = parameters.epochs
    said = []
    losses = [epoch.validation.loss for epoch in history]
    last, lowest = history[-1], history[int(np.argmin(losses))]
    if len(history) < epochs:
        said.append(
            f"Training stopped after epoch {len(history)} of {epochs}: for {parameters.patience} epochs in a row the validation "
            "loss had no new low."
        )
    elif len(history) > 1 and losses[-1] == min(losses):
        said.append("The validation loss was lowest in the last epoch: more epochs may give a better network.")
    if losses[-1] > OVERFITTED * min(losses) and last.training.loss < lowest.training.loss:
        said.append(
            f"The validation loss was lowest in epoch {lowest.number} and rose while the training loss fell: the network "
            "overfits. More images, random operations or fewer epochs may help."
        )
    if exploded := explosion(history[0], classes):
        warmup = "" if parameters.warmup_step_number else "warmup_step_number 1 or "
        said.append(f"{exploded}: the first steps were too large. Try {warmup}a lower learning_rate.")
    waiting = sum(epoch.spent.waiting for epoch in history)
    trained = waiting + sum(epoch.spent.computing for epoch in history)
    share = waiting / trained if trained else 0.0
    if share > MUCH_WAITING and waiting > START_SECONDS:
        said.append(
            f"Loading images took {percent(share)} of training time: more CPU cores would help, or smaller images (Apply Image "
            "Transformation makes them once)."
        )
    elif share <= MUCH_WAITING:
        said.append(f"Loading images took {percent(share)} of training time: the processors were busy.")
    return said


SECONDS_HEADER = ("epoch", "waiting for images", "computing", "validation", "saving")


def _epochs(run: TrainingRun) -> list[tuple[str, ...]]:
    """The table of the epochs, its header first."""
    columns: dict[str, Callable[[EpochResult], str]] = {
        "epoch": lambda epoch: str(epoch.number),
        "training loss": lambda epoch: f"{epoch.training.loss:.4f}",
        "validation loss": lambda epoch: f"{epoch.validation.loss:.4f}",
        "top-1": lambda epoch: percent(epoch.validation.top1),
        "top-5": lambda epoch: percent(epoch.validation.top5),
        "learning rate": lambda epoch: f"{epoch.learning_rate:.3g}",
        "images/s": lambda epoch: f"{epoch.images_per_second:.1f}",
    }
    if not run.tells_top5:
        del columns["top-5"]
    return [tuple(columns), *(tuple(text(epoch) for text in columns.values()) for epoch in run.result.history[-MOST_EPOCHS:])]


def _seconds(history: Sequence[EpochResult]) -> list[tuple[str, ...]]:
    return [
        (str(epoch.number), *(f"{seconds:.1f} s" for seconds in epoch.seconds().values())) for epoch in history[-MOST_EPOCHS:]
    ]


def _tiles(run: TrainingRun) -> list[tuple[str, str]]:
    best, history = run.result.best, run.result.history
    seen = [epoch.training.seen for epoch in history]
    speed = sum(seen) / sum(count / epoch.images_per_second for count, epoch in zip(seen, history, strict=True))
    seconds = sum(epoch.spent.total for epoch in history)
    tiles = [
        ("top-1 validation accuracy", percent(best.validation.top1)),
        *([("top-5 validation accuracy", percent(best.validation.top5))] if run.tells_top5 else []),
        ("kept epoch", f"{best.number} of {len(history)}"),
        ("training images/s", f"{speed:.1f}"),
        ("time in epochs", clock(seconds)),
    ]
    if run.processes > 1:
        tiles.insert(-1, (f"images/s of each of {run.processes} processes", f"{speed / run.processes:.1f}"))
    return tiles


def _counts(index: ImageIndex) -> dict[str, int]:
    numbers = np.bincount(index.labels, minlength=len(index.classes))
    return {label: int(number) for label, number in zip(index.classes, numbers, strict=True)}


def _per_class(
    evaluation: Evaluation, counts: Mapping[str, Mapping[str, int]]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    figures = known_figures(evaluation)
    rows: list[tuple[object, ...]] = [
        (label, *(column[label] for column in counts.values()), *figures[label].values()) for label in evaluation.labels
    ]
    return ("class", *(f"{name}_images" for name in counts), "precision", "recall", "f1"), rows


def _how_to(folder: Path) -> list[Section]:
    model = shlex.quote(str(folder.absolute()))
    as_input = shlex.quote(f"trained_model={folder.absolute()}")
    return [
        Section(
            "Score photos",
            "At a terminal, or with Score Image Model on Azure ML or on your own machine; photos can have any size:",
            codes=[
                f"designer-vision predict {model} FOLDER",
                f"designer-vision run pipelines/score_only.yaml --input {as_input} --input images=FOLDER",
            ],
        ),
        Section(
            "Deploy",
            "The folder is an MLflow model. Served on this machine, or registered for an online or batch endpoint of Azure ML ("
            "the YAML is in pipelines/deploy):",
            codes=[
                f"designer-vision serve {model}",
                f"az ml model create --name my_model --type mlflow_model --path {model}",
                "az ml online-endpoint create -f pipelines/deploy/online_endpoint.yaml\n"
                "az ml online-deployment create -f pipelines/deploy/online_deployment.yaml --all-traffic",
            ],
            note="For a job on Azure ML, the path is azureml://jobs/JOB/outputs/trained_model.",
        ),
    ]
