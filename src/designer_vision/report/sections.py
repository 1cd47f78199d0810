"""The parts of a page that the reports of a training and of an evaluation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from designer_vision.evaluation import Evaluation, confused_pairs
from designer_vision.report.mistakes import MOST_SHOWN, Mistake
from designer_vision.report.page import Section

MOST_ROWS = 60
"""Of a table on the page; the whole one is a CSV file beside it."""
MOST_PAIRS = 10


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
        header=("true", "predicted", "confused most often, images") if pairs else (),
        rows=rows,
        texts=2,
    )


def mistakes_section(mistakes: Sequence[Mistake], wrong: int) -> Section:
    """Where the network is wrong and sure of it."""
    if not mistakes:
        return Section("Most confident mistakes", "There is none.")
    if wrong > MOST_SHOWN:
        lead = f"The {MOST_SHOWN} surest of {wrong:,} wrong predictions"
    else:
        lead = f"All {wrong} wrong predictions, the surest first" if wrong > 1 else "The only wrong prediction"
    text = (
        f"{lead}: the predicted label with its probability, the true one, and the file. A label that is wrong in the data shows "
        "here first."
    )
    return Section("Most confident mistakes", text, mistakes=mistakes)


def classes_section(evaluation: Evaluation, counts: Mapping[str, Mapping[str, int]], all_in: str) -> Section:
    """How well each class is predicted, the worst first.

    Args:
        evaluation: its figures.
        counts: column name to the number of images of each class.
        all_in: the file that has all classes.
    """
    order = sorted(evaluation.labels, key=lambda label: (evaluation.per_class[label]["f1"], label))[:MOST_ROWS]
    figures = evaluation.per_class
    rows = [
        (
            label,
            *(f"{column.get(label, 0):,}" for column in counts.values()),
            *(percent(figures[label][name]) for name in ("precision", "recall", "f1")),
        )
        for label in order
    ]
    note = f"The worst {MOST_ROWS} of {len(figures):,} classes; all are in {all_in}." if len(figures) > MOST_ROWS else ""
    return Section("Classes", header=("class", *counts, "precision", "recall", "F1"), rows=rows, note=note)


def supports(evaluation: Evaluation) -> dict[str, int]:
    """How many images have each label."""
    return {label: int(figures["support"]) for label, figures in evaluation.per_class.items()}
