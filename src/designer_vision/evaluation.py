"""How well a scored set's labels are predicted: figures, confusion matrix, and its picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from designer_vision.directories.data_frame_directory import ScoredSet
from designer_vision.errors import NotLabeledDatasetError


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
    truth, predicted = [true for true, _ in pairs], [label for _, label in pairs]
    labels = (*scored.labels, *sorted(set(truth) - set(scored.labels)))
    matrix = confusion_matrix(truth, predicted, labels=labels)
    columns = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    per_class = {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *columns, strict=True)
    }
    return Evaluation(labels, matrix, per_class, _summary(truth, predicted, labels, matrix))


def _summary(truth: list[str], predicted: list[str], labels: tuple[str, ...], matrix: npt.NDArray[np.int64]) -> dict[str, float]:
    count = int(matrix.sum())
    right = np.diag(matrix)
    wrong_by_class = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * right
    summary = {
        "Images": count,
        "Overall accuracy": float(right.sum() / count),
        "Average accuracy": float(1 - (wrong_by_class / count).mean()),
    }
    present = [label for label, images in zip(labels, matrix.sum(axis=1) + matrix.sum(axis=0), strict=True) if images]
    for average in ("micro", "macro"):
        values = precision_recall_fscore_support(truth, predicted, labels=present, average=average, zero_division=0.0)
        for name, value in zip(("precision", "recall", "F1"), values, strict=False):
            summary[f"{average.capitalize()} {name}"] = float(value)
    return summary


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
