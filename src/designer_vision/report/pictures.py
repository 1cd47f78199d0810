"""Pictures of a training and of an evaluation, as PNG files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from designer_vision.data.images import Pixels
from designer_vision.inference.calibration import BINS, Reliability
from designer_vision.inference.evaluation import Evaluation, confused_pairs
from designer_vision.report.mistakes import Example
from designer_vision.runtime.console import printable

if TYPE_CHECKING:
    from designer_vision.training.results import EpochResult  # which loads torch, and an evaluation has no use for it

MOST_CELLS = 30
"""Classes whose whole confusion matrix can be read; of more, the most confused pairs are shown."""
MOST_PAIRS = 20
DOTS_PER_INCH = 110
BLUE, ORANGE, GREEN, GREY = "#2563eb", "#ea580c", "#16a34a", "#9ca3af"
LONGEST_NAME = 24
LARGE = 1e300
"""What cannot be drawn: MLflow keeps an infinite loss as the greatest number that there is, from which no axis can be made."""
WIDE = 30
"""Numbers of which the largest is so many times the smallest stand on a logarithmic axis."""


def draw_curves(history: Sequence[EpochResult], best: EpochResult, with_top5: bool = True) -> bytes:
    """Loss, accuracy, learning rate and images/s of every epoch, and which of them was kept."""
    numbers = [epoch.number for epoch in history]
    figure = _figure(10, 6.4)
    (loss, accuracy), (rate, speed) = figure.subplots(2, 2, sharex=True)

    def line(axes: Any, name: str, value: Callable[[EpochResult], float], color: str, style: str = "-") -> None:
        axes.plot(numbers, [value(epoch) for epoch in history], style, color=color, label=name, marker="o", markersize=4)

    line(loss, "training", lambda epoch: epoch.training.loss, BLUE)
    line(loss, "validation", lambda epoch: epoch.validation.loss, ORANGE)
    line(accuracy, "training, top-1", lambda epoch: 100 * epoch.training.top1, BLUE)
    line(accuracy, "validation, top-1", lambda epoch: 100 * epoch.validation.top1, ORANGE)
    if with_top5:
        line(accuracy, "validation, top-5", lambda epoch: 100 * epoch.validation.top5, ORANGE, ":")
    line(rate, "learning rate", lambda epoch: epoch.learning_rate, BLUE)
    line(speed, "images/s", lambda epoch: epoch.images_per_second, BLUE)
    titles = {loss: "loss", accuracy: "accuracy, %", rate: "learning rate at the epoch's end", speed: "training images/s"}
    for axes, title in titles.items():
        axes.set_title(title, fontsize=11, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(best.number, color=GREEN, linestyle="--", linewidth=1, label=f"kept: epoch {best.number}")
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (rate, speed):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
    for axes in (loss, accuracy):
        axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def draw_reliability(reliabilities: Mapping[str, Reliability]) -> bytes:
    """How often predictions of each probability are right, and how many there are of them; a line a name, the main one last."""
    figure = _figure(6.2, 5.4)
    accuracy, count = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    accuracy.plot([0, 100], [0, 100], "--", color=GREY, linewidth=1, label="as it should be")
    for (name, found), color in zip([*reliabilities.items()][::-1], (BLUE, ORANGE), strict=False):
        there = found.images > 0
        label = f"{name}: calibration error {found.error:.1%}"
        accuracy.plot(
            100 * found.confidence[there], 100 * found.accuracy[there], color=color, label=label, marker="o", markersize=4
        )
    main = [*reliabilities.values()][-1]
    count.bar((np.arange(BINS) + 0.5) * 100 / BINS, main.images, width=90 / BINS, color=BLUE)
    for axes, title in ((accuracy, "accuracy, %"), (count, "images")):
        axes.set_title(title, fontsize=11, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    accuracy.legend(fontsize=8, frameon=False, loc="upper left")
    count.set_xlabel("probability of the predicted label, %")
    return _png(figure)


def draw_confusion(evaluation: Evaluation) -> bytes:
    """The confusion matrix, or of more than 30 classes the pairs that are confused most often."""
    return _draw_matrix(evaluation) if len(evaluation.labels) <= MOST_CELLS else _draw_pairs(evaluation)


def _draw_matrix(evaluation: Evaluation) -> bytes:
    """Counts in the cells, colours by the share of the true class."""
    count = len(evaluation.labels)
    side = max(4.0, 1.5 + 0.5 * count)
    figure = _figure(side + 1, side)
    axes = figure.add_subplot()
    shares = evaluation.matrix / np.maximum(evaluation.matrix.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class")
    names = [_short(label) for label in evaluation.labels]
    axes.set_xticks(range(count), names, rotation=90 if count > 10 or max(map(len, names)) > 4 else 0, parse_math=False)
    axes.set_yticks(range(count), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(_headline(evaluation), fontsize=11)
    for (row, column), number in np.ndenumerate(evaluation.matrix):
        if number:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=color)
    return _png(figure)


def _draw_pairs(evaluation: Evaluation) -> bytes:
    pairs = confused_pairs(evaluation, MOST_PAIRS)
    figure = _figure(8, 1.5 + 0.32 * max(len(pairs), 3))
    axes = figure.add_subplot()
    axes.barh(range(len(pairs)), [number for *_, number in pairs], color=ORANGE)
    axes.set_yticks(range(len(pairs)), [f"{_short(true)} → {_short(other)}" for true, other, _ in pairs], parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("images; true class → predicted class")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{_headline(evaluation)}; the pairs confused most often", fontsize=11)
    return _png(figure)


def draw_trials(
    metric: str, parameters: Mapping[str, Sequence[str]], values: Sequence[float | None], finished: Sequence[bool], best: int
) -> bytes:
    """A metric by each of some parameters: numbers on an axis of their own, other texts side by side.

    Args:
        metric: what is drawn upwards.
        parameters: their values, one a trial.
        values: of the metric, one a trial; None where a trial has none.
        finished: whether it came to its end, one a trial.
        best: the place of the best trial.
    """
    columns = min(3, len(parameters))
    lines = -(-len(parameters) // columns)
    figure = _figure(3.6 * columns + 0.6, 3.2 * lines)
    cells = np.ravel(figure.subplots(lines, columns, squeeze=False, sharey=True))
    known = [place for place, value in enumerate(values) if value is not None and abs(value) < LARGE]
    for axes in cells[len(parameters) :]:
        axes.axis("off")
    for axes, (name, texts) in zip(cells, parameters.items(), strict=False):
        at = _places(axes, [texts[place] for place in known])
        for across, place in zip(at, known, strict=True):
            color = GREEN if place == best else BLUE
            axes.plot(
                across, values[place], "o", color=color, markersize=9 if place == best else 6,
                fillstyle="full" if finished[place] else "none", zorder=3 if place == best else 2,
            )  # fmt: skip
        axes.set_xlabel(_short(name), parse_math=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in cells[::columns]:
        axes.set_ylabel(_short(metric), parse_math=False)
    return _png(figure)


def _places(axes: Any, texts: Sequence[str]) -> list[float]:
    """Where texts stand on a horizontal axis: numbers by their size, or its logarithm; others in the order of their names."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if not all(abs(number) < LARGE for number in numbers) or len(numbers) < len(texts):
        names = sorted(set(texts))
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=20, parse_math=False)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return [float(names.index(text)) for text in texts]
    if numbers and min(numbers) > 0 and max(numbers) > WIDE * min(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
    elif all(number.is_integer() for number in numbers):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return numbers


def draw_mistakes(mistakes: Sequence[Example]) -> bytes:
    """A contact sheet: each photo over its true and predicted label and the probability of that."""
    columns = min(6, len(mistakes))
    rows = -(-len(mistakes) // columns)
    figure = _figure(1.9 * columns, 2.35 * rows)
    cells = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in cells:
        axes.axis("off")
    for axes, mistake in zip(cells, mistakes, strict=False):
        axes.imshow(_shown(mistake.photo))
        text = f"{_short(mistake.predicted)}, {mistake.probability:.0%}\ntrue: {_short(mistake.true)}"
        axes.set_title(text, fontsize=8, parse_math=False)
    return _png(figure)


def _shown(photo: Pixels | None) -> Pixels:
    return np.full((8, 8, 3), 230, np.uint8) if photo is None else photo


def _headline(evaluation: Evaluation) -> str:
    return f"{evaluation.summary['Overall accuracy']:.1%} of {evaluation.summary['Images']} images right"


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _figure(width: float, height: float) -> Any:
    """A figure of so many inches. Made without pyplot, which would keep it and open windows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that matplotlib's font lacks; the page has it
        figure.savefig(buffer, dpi=DOTS_PER_INCH, format="png", metadata={"Software": None})
    return buffer.getvalue()
