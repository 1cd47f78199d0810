"""How well labels are predicted: figures, confusion matrix, the most confident mistakes, and two networks compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from designer_vision.formats.data_frame_directory import ScoredSet, storable
from designer_vision.formats.image_index import ImageIndex
from designer_vision.inference.calibration import reliability
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError

MOST_CLASSES = 5000
"""Their matrix takes 200 MB."""

Numbers = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a network said of images whose labels are known.

    Attributes:
        labels: all classes: the network's, then true ones that it does not know.
        true, predicted: int64 [n], each image's label as a number in `labels`.
        probability: float64 [n], of the predicted label.
        ids: int64 [n], the images' own.
        names: what the person called each image; empty where nobody says.
    """

    labels: tuple[str, ...]
    true: Numbers
    predicted: Numbers
    probability: Figures
    ids: Numbers
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, scored: ScoredSet, source: object) -> Predictions:
        """The most probable labels of a scored set; images without a true label do not count.

        Args:
            scored: a labelled scored set.
            source: what the error names.

        Raises:
            NotLabeledDatasetError: no image has a true label.
        """
        categories = scored.categories or []
        rows = np.array([row for row, label in enumerate(categories) if label], np.int64)
        if not len(rows):
            raise NotLabeledDatasetError(f"{source} has no true labels; score a labelled dataset to evaluate a model")
        true = [str(categories[row]) for row in rows]
        labels = (*scored.labels, *sorted(set(true) - set(scored.labels)))
        if len(labels) > MOST_CLASSES:
            raise InvalidDatasetError(f"{source} has {len(labels):,} classes, expected at most {MOST_CLASSES:,} to evaluate")
        numbers = {label: number for number, label in enumerate(labels)}
        predicted = scored.probabilities[rows].argmax(axis=1)
        probability = scored.probabilities[rows, predicted]
        names = () if scored.names is None else tuple(scored.names[row] for row in rows)
        return cls(labels, np.array([numbers[label] for label in true]), predicted, probability, scored.ids[rows], names)

    def name(self, row: int) -> str:
        """What to call an image: its file, or its id where nobody knows more."""
        return self.names[row] if self.names else f"id {self.ids[row]}"

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.true, self.predicted)


@dataclass(frozen=True)
class Evaluation:
    """The figures of some predictions.

    Attributes:
        labels: all classes, as the predictions have them.
        matrix: int64 [true, predicted], counts of images.
        per_class: label to precision, recall, f1 and support.
        summary: metric name to value, all between 0 and 1, and the number of images.
    """

    labels: tuple[str, ...]
    matrix: Numbers
    per_class: dict[str, dict[str, float]]
    summary: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "metrics": self.summary,
            "per_class": self.per_class,
            "confusion_matrix": {"labels": list(self.labels), "true_by_predicted": self.matrix.tolist()},
        }


def evaluate(predictions: Predictions) -> Evaluation:
    """Compare the most probable labels with the true ones.

    Overall accuracy is the fraction of images predicted right; average accuracy is the mean over classes of the
    fraction of images rightly put inside or outside of that class, as the classic Evaluate Model defines it.
    """
    labels = predictions.labels
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, (predictions.true, predictions.predicted), 1)
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
        "Balanced accuracy": balanced_accuracy(predictions),
        **{f"Micro {name}": accuracy for name in macro},  # with one label an image, each of them is
        **{f"Macro {name}": float(value) for name, value in macro.items()},
        "Expected calibration error": reliability(predictions.probability, predictions.right).error,
    }
    return Evaluation(labels, matrix, per_class, summary)


def balanced_accuracy(predictions: Predictions) -> float:
    """The mean recall of the classes that have images: what overall accuracy would be if all had equally many."""
    images = np.bincount(predictions.true)
    right = np.bincount(predictions.true[predictions.right], minlength=len(images))
    return float((right[images > 0] / images[images > 0]).mean())


def _share(part: Numbers, whole: Numbers) -> Figures:
    """Part of a whole, 0 where there is none."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def known_figures(evaluation: Evaluation) -> dict[str, dict[str, float | None]]:
    """Precision, recall and F1 of each class; None where nothing tells.

    That is recall and F1 of a class that no image has, and precision of one that was never predicted.
    """
    predicted = evaluation.matrix.sum(axis=0)
    return {
        label: {
            "precision": figures["precision"] if count else None,
            "recall": figures["recall"] if figures["support"] else None,
            "f1": figures["f1"] if figures["support"] else None,
        }
        for (label, figures), count in zip(evaluation.per_class.items(), predicted, strict=True)
    }


def confused_pairs(evaluation: Evaluation, most: int) -> list[tuple[str, str, int]]:
    """True label, predicted label and number of images of the mistakes made most often, most often first."""
    pairs = np.argwhere(evaluation.matrix)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    numbers = evaluation.matrix[pairs[:, 0], pairs[:, 1]]
    order = np.argsort(-numbers, kind="stable")[:most]
    labels = evaluation.labels
    return [
        (labels[true], labels[other], int(number)) for (true, other), number in zip(pairs[order], numbers[order], strict=True)
    ]


def most_confident_mistakes(predictions: Predictions, most: int) -> list[int]:
    """The rows of the wrong predictions with the highest probability, highest first."""
    wrong = np.flatnonzero(~predictions.right)
    order = np.argsort(-predictions.probability[wrong], kind="stable")[:most]
    return [int(row) for row in wrong[order]]


def most_confident_of_classes(predictions: Predictions, most: int) -> list[int]:
    """The rows of some right predictions: of evenly spaced classes the one with the highest probability, then those behind it."""
    right = np.flatnonzero(predictions.right)
    order = right[np.lexsort((-predictions.probability[right], predictions.true[right]))]
    classes, first = np.unique(predictions.true[order], return_index=True)
    if len(classes) > most:
        order = order[first[np.linspace(0, len(classes) - 1, most, dtype=np.int64)]]
    else:
        place = np.arange(len(order)) - first[np.searchsorted(classes, predictions.true[order])]
        order = np.sort(order[np.argsort(place, kind="stable")[:most]])
    return [int(row) for row in order]


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images.

    Attributes:
        images: how many both have scored.
        first_only, second_only: rows (in the first one's predictions) of the images that only one of them gets right.
        changed: rows of all images that they call differently, [n, 2]: in the first and in the second.
        p_value: how probable a difference at least as large is if both networks are equally good, by McNemar's exact test.
    """

    images: int
    first_only: Numbers
    second_only: Numbers
    changed: Numbers
    p_value: float

    def to_json(self) -> dict[str, float]:
        """For `metrics.json`."""
        return {
            "images": self.images,
            "changed": len(self.changed),
            "only_first_right": len(self.first_only),
            "only_second_right": len(self.second_only),
            "mcnemar_p_value": self.p_value,
        }

    def sentence(self) -> str:
        """What it comes to, in one sentence."""
        better, worse = len(self.second_only), len(self.first_only)
        verdict = "so large a difference is hardly chance" if self.p_value < 0.05 else "that may well be chance"
        return (
            f"Of {self.images} images, {len(self.changed)} are labelled differently: {better} are right in the second set only, "
            f"{worse} in the first only; {verdict} (McNemar's exact test, p = {self.p_value:.2g})."
        )


def file_name(name: str) -> str:
    """What a person called an image, without its folders, which can be named from another root; "" where a component named it."""
    last = name.rpartition("/")[2]
    return "" if re.fullmatch(r"\d+_\d+(\.\w+)?", last) else last


def find_scored(index: ImageIndex, ids: Numbers, labels: Iterable[str | None], names: Sequence[str] | None) -> list[int]:
    """The row of each scored image in the folder that was scored, by its id.

    Args:
        index: the folder.
        ids: int64 [n], of the scored images.
        labels: of each, None where it has none.
        names: what the person called each; None where the set does not say.

    Raises:
        InvalidDatasetError: these are not the images that were scored: an id is missing, or has another label or name.
    """
    numbers = {int(number): row for row, number in enumerate(index.ids)}
    rows = []
    for place, (number, label) in enumerate(zip(ids, labels, strict=True)):
        row = numbers.get(int(number))
        found = index.row(row).category if row is not None else None
        if row is None or found != label:
            raise _other_images(index, f"the id {number} is {label!r} in the scored set and {found or 'nothing'!r} there")
        one, other = (file_name(names[place]), file_name(storable(index.name(row)))) if names else ("", "")
        if one and other and one != other:
            raise _other_images(index, f"the id {number} is {one!r} in the scored set and {other!r} there")
        rows.append(row)
    return rows


def _other_images(index: ImageIndex, difference: str) -> InvalidDatasetError:
    return InvalidDatasetError(
        f"{index.folder} does not hold the images that were scored: {difference}; connect the dataset that "
        "Score Image Model scored"
    )


def compare(first: Predictions, second: Predictions) -> Comparison | None:
    """Compare two networks image by image, matched by id; None where the sets are not of the same images.

    Those have the same labels and, where people named them in both sets, the same names; their pixels may differ, as each network
    can have a size of its own.

    The test is McNemar's (1947) in its exact form: of the images that only one network gets right, each is equally good's with
    probability one half.
    """
    from scipy.stats import binomtest

    ids, rows, other_rows = np.intersect1d(first.ids, second.ids, return_indices=True)
    unique = len(np.unique(first.ids)) == len(first.ids) and len(np.unique(second.ids)) == len(second.ids)
    names, other_names = np.array(first.labels, object), np.array(second.labels, object)
    if not len(ids) or not unique or (names[first.true[rows]] != other_names[second.true[other_rows]]).any():
        return None
    if first.names and second.names:
        pairs = (
            (file_name(first.names[row]), file_name(second.names[other])) for row, other in zip(rows, other_rows, strict=True)
        )
        if any(one != other for one, other in pairs if one and other):
            return None
    right, other_right = first.right[rows], second.right[other_rows]
    differs = names[first.predicted[rows]] != other_names[second.predicted[other_rows]]
    first_only, second_only = rows[right & ~other_right], rows[~right & other_right]
    discordant = len(first_only) + len(second_only)
    p_value = float(binomtest(len(first_only), discordant).pvalue) if discordant else 1.0
    return Comparison(len(ids), first_only, second_only, np.stack([rows, other_rows], axis=1)[differs], p_value)
