"""The parts of a page that the reports of a training and of an evaluation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from designer_vision.inference.calibration import DECIMALS, Reliability, Threshold
from designer_vision.inference.evaluation import Evaluation, confused_pairs, known_figures
from designer_vision.report.mistakes import MOST_SHOWN, Example
from designer_vision.report.page import Section

MOST_ROWS = 60
"""Of a table on the page; the whole one is a CSV file beside it."""
MOST_PAIRS = 10
HEAT_MAPS = (
    "A heat map shows where the network found what speaks for the label that it predicts (bright): where, not why. If that is at "
    "the border or in the background, look at the data."
)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def confusion_section(evaluation: Evaluation, picture: bytes) -> Section:
    """Which classes are taken for which."""
    pairs = confused_pairs(evaluation, MOST_PAIRS)
    rows = [(true, predicted, f"{number:,}") for true, predicted, number in pairs]
    text = "" if pairs else "No image is predicted wrong."
    return Section(
        "Confused classes",
        text,
        picture,
        header=("true", "predicted", "count") if pairs else (),
        rows=rows,
        texts=2,
    )


def mistakes_section(mistakes: Sequence[Example], wrong: int) -> Section:
    """Where the network is wrong and sure of it."""
    if not mistakes:
        return Section("Most confident mistakes", "There are none.")
    if wrong > MOST_SHOWN:
        lead = f"The {MOST_SHOWN} most confident of {wrong:,} mistakes"
    else:
        lead = f"All {wrong} mistakes, the most confident first" if wrong > 1 else "The only mistake"
    text = f"{lead}: the predicted label with its probability, the true one, and the file. Wrong labels in the data show up here."
    has_maps = any(mistake.has_heat_map for mistake in mistakes)
    return Section("Most confident mistakes", text, examples=mistakes, note=HEAT_MAPS if has_maps else "")


def right_section(right: Sequence[Example], mistakes: Sequence[Example]) -> list[Section]:
    """Where the network looks when it is right, if that is known."""
    text = "The most confident right predictions of some classes, to compare with."
    return [Section("Predicted correctly", text, examples=right, note="" if mistakes else HEAT_MAPS)] if right else []


def reliability_section(text: str, after: Reliability, thresholds: Sequence[Threshold], picture: bytes) -> Section:
    """How far probabilities can be believed, and what a threshold answers.

    Args:
        text: how they came about.
        after: of the probabilities as they are.
        thresholds: on them.
        picture: as `draw_reliability` makes it.
    """
    rows = [
        (
            f"{found.target:.0%}",
            "none, on these images" if found.probability is None else f"{found.probability:.{DECIMALS}f}",
            "–" if found.probability is None else percent(found.coverage),
            "–" if found.probability is None else percent(found.accuracy),
        )
        for found in thresholds
    ]
    note = (
        f"Counted on these {after.images.sum():,} images: only predictions with at least that probability count, and the others "
        'are "unknown". Where too few count to allow one mistake, there is no threshold. A photo of none of the classes can '
        "get a high probability all the same."
    )
    header = ("target accuracy", "threshold", "coverage", "accuracy")
    return Section("How far the probabilities can be believed", text, picture, header=header, rows=rows, note=note)


def classes_section(evaluation: Evaluation, counts: Mapping[str, Mapping[str, int]], all_in: str) -> Section:
    """How well each class is predicted, the worst first, those without images last.

    Args:
        evaluation: its figures.
        counts: column name to the number of images of each class.
        all_in: the file that has all classes.
    """
    figures = known_figures(evaluation)

    def worst_first(label: str) -> tuple[bool, float, str]:
        f1 = figures[label]["f1"]
        return f1 is None, f1 or 0.0, label

    order = sorted(evaluation.labels, key=worst_first)[:MOST_ROWS]
    rows = [
        (
            label,
            *(f"{column.get(label, 0):,}" for column in counts.values()),
            *("–" if figure is None else percent(figure) for figure in figures[label].values()),
        )
        for label in order
    ]
    note = f"The worst {MOST_ROWS} of {len(figures):,} classes; all are in {all_in}." if len(figures) > MOST_ROWS else ""
    return Section("Classes", header=("class", *counts, "precision", "recall", "F1"), rows=rows, note=note)


def supports(evaluation: Evaluation) -> dict[str, int]:
    """How many images have each label."""
    return {label: int(figures["support"]) for label, figures in evaluation.per_class.items()}
