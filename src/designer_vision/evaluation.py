"""How well a scored set's labels are predicted: figures, confusion matrix, and its picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from designer_vision.directories.data_frame_directory import ScoredSet
from designer_vision.errors import InvalidDatasetError, NotLabeledDatasetError

MOST_CLASSES = 5000
"""Their matrix takes 200 MB."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one scored set.

    Attributes:
        labels: all classes: the network's, then true ones that it does not know.
        matrix: int64 [true, predicted], counts of images.
        per_class: label to precision, recall, f1 and support.
        summary: metric name to value, all between 0 and 1, and the number of images.
    """

    labels: tuple[str, ...]
    matrix: npt.NDArray[np.int64]
    per_class: dict[str, dict[str, float]]
    summary: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "metrics": self.summary,
            "per_class": self.per_class,
            "confusion_matrix": {"labels": list(self.labels), "true_by_predicted": self.matrix.tolist()},
        }


def evaluate(scored: ScoredSet, source: object) -> Evaluation:
    """Compare the most probable labels with the true ones; images without a true label do not count.

    Overall accuracy is the fraction of images predicted right; average accuracy is the mean over classes of the
    fraction of images rightly put inside or outside of that class, as the classic Evaluate Model defines it.

    Args:
        scored: a labelled scored set.
        source: what the error names.

    Raises:
        NotLabeledDatasetError: no image has a true label.
    """
    pairs = [(true, predicted) for true, predicted in zip(scored.categories or [], scored.scored_labels, strict=False) if true]
    if not pairs:
        raise NotLabeledDatasetError(f"{source} has no true labels; score a labelled dataset to evaluate a model")
    labels = (*scored.labels, *sorted({true for true, _ in pairs} - set(scored.labels)))
    if len(labels) > MOST_CLASSES:
        raise InvalidDatasetError(f"{source} has {len(labels):,} classes, expected at most {MOST_CLASSES:,} to evaluate")
    numbers = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, tuple(np.array([[numbers[label] for label in pair] for pair in pairs]).T), 1)
    right, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    precision, recall, f1 = _share(right, predicted), _share(right, true), _share(2 * right, predicted + true)
    per_class = {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, precision, recall, f1, true, strict=True)
    }
    present = predicted + true > 0
    macro = {"precision": precision[present].mean(), "recall": recall[present].mean(), "F1": f1[present].mean()}
    count = int(matrix.sum())
    accuracy = float(right.sum() / count)
    summary = {
        "Images": count,
        "Overall accuracy": accuracy,
        "Average accuracy": float(1 - ((predicted + true - 2 * right) / count).mean()),
        **{f"Micro {name}": accuracy for name in macro},  # with one label an image, each of them is
        **{f"Macro {name}": float(value) for name, value in macro.items()},
    }
    return Evaluation(labels, matrix, per_class, summary)


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Part of a whole, 0 where there is none."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def draw_confusion_matrix(evaluation: Evaluation, path: Path) -> None:
    """Write the matrix as a PNG: counts in the cells, colours by the share of the true class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(evaluation.labels)
    side = max(4.0, min(20.0, 1.5 + 0.5 * count))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    totals = evaluation.matrix.sum(axis=1, keepdims=True)
    shares = evaluation.matrix / np.maximum(totals, 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class")
    names = [label if len(label) <= 24 else f"{label[:23]}…" for label in evaluation.labels]
    axes.set_xticks(range(count), names, rotation=90 if count > 10 or max(map(len, names)) > 4 else 0, parse_math=False)
    axes.set_yticks(range(count), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(
        f"Confusion matrix: {evaluation.summary['Overall accuracy']:.1%} of {evaluation.summary['Images']} images right"
    )
    if count <= 30:
        for (row, column), number in np.ndenumerate(evaluation.matrix):
            if number:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(number), ha="center", va="center", color=color)
    figure.savefig(path, dpi=100)
