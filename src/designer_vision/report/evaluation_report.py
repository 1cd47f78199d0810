"""What Evaluate Model leaves to look at: how well, where it is wrong, and what a second network does otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designer_vision.inference.calibration import reliability, thresholds
from designer_vision.inference.evaluation import (
    Comparison,
    Evaluation,
    Predictions,
    known_figures,
    most_confident_mistakes,
)
from designer_vision.report.files import write_csv, write_report
from designer_vision.report.mistakes import MOST_SHOWN, Photos, find_mistakes, find_right
from designer_vision.report.page import Page, Section
from designer_vision.report.pictures import draw_confusion, draw_mistakes, draw_reliability
from designer_vision.report.sections import (
    MOST_ROWS,
    classes_section,
    confusion_section,
    mistakes_section,
    percent,
    reliability_section,
    right_section,
    supports,
)

PER_CLASS, CHANGED = "per_class.csv", "changed_images.csv"
CHANGED_HEADER = ("image", "true", "scored_set", "probability", "second_set", "second_probability")
Changed = tuple[str, str, str, float, str, float]
"""A row of `changed_images.csv`."""


@dataclass(frozen=True)
class Scored:
    """A scored set with its figures."""

    predictions: Predictions
    evaluation: Evaluation


def write_evaluation_report(
    folder: Path, first: Scored, second: Scored | None, comparison: Comparison | None, photos: Photos | None
) -> list[Path]:
    """Write `report.html`, its pictures and its tables into the folder.

    Args:
        folder: the output.
        first: the scored set.
        second: another one, of another network.
        comparison: of both, if they are of the same images.
        photos: the images that were scored; without them mistakes are shown without their photos.

    Returns:
        The files, for MLflow.
    """
    predictions, evaluation = first.predictions, first.evaluation
    pictures = {"confusion_matrix.png": draw_confusion(evaluation)}
    if second:
        pictures["confusion_matrix_to_compare.png"] = draw_confusion(second.evaluation)
    sections = [_figures(evaluation, second)] if second else []
    tables = [_write_per_class(folder / PER_CLASS, evaluation)]
    if second:
        changed = _changed(first, second, comparison, photos) if comparison else []
        tables.append(write_csv(folder / CHANGED, CHANGED_HEADER, changed))
        sections.append(_comparison(comparison, changed))
    sections.append(confusion_section(evaluation, pictures["confusion_matrix.png"]))
    if second:
        second_picture = pictures["confusion_matrix_to_compare.png"]
        sections.append(Section("Confused classes of the second set", picture=second_picture))
    if photos:
        mistakes = find_mistakes(predictions, photos)
        sections.append(mistakes_section(mistakes, int((~predictions.right).sum())))
        sections += right_section(find_right(predictions, photos), mistakes)
        if mistakes:
            pictures["mistakes.png"] = draw_mistakes(mistakes)
    else:
        sections.append(_mistakes_without_photos(predictions))
    of_first = reliability(predictions.probability, predictions.right)
    of_both = {"scored set": of_first}
    if second:
        other = second.predictions
        of_both = {"second set": reliability(other.probability, other.right)} | of_both
    pictures["reliability.png"] = draw_reliability(of_both)
    answered = thresholds(predictions.probability, predictions.right)
    sections.append(reliability_section(of_first.sentence(), of_first, answered, pictures["reliability.png"]))
    sections.append(classes_section(evaluation, {"images": supports(evaluation)}, PER_CLASS))
    if not second:
        sections.append(_figures(evaluation, second))
    summary = evaluation.summary
    page = Page(
        "Evaluation",
        f"{int(summary['Images']):,} labelled images, {len(evaluation.labels):,} classes",
        [(name, percent(summary[metric])) for name, metric in TILES.items()],
        [comparison.sentence()] if comparison else [],
        sections=sections,
    )
    return [*write_report(folder, page, pictures, folder), *tables]


TILES = {
    "accuracy (top-1)": "Overall accuracy",
    "macro recall": "Macro recall",
    "macro precision": "Macro precision",
    "macro F1": "Macro F1",
}


def _figures(evaluation: Evaluation, second: Scored | None) -> Section:
    def shown(summary: dict[str, float], name: str) -> str:
        return f"{summary[name]:,.0f}" if name == "Images" else percent(summary[name])

    summaries = [evaluation.summary] + ([second.evaluation.summary] if second else [])
    rows = [(name, *(shown(summary, name) for summary in summaries)) for name in evaluation.summary]
    return Section("Figures", header=("", "scored set", "second set")[: len(summaries) + 1], rows=rows)


def _comparison(comparison: Comparison | None, changed: Sequence[Changed]) -> Section:
    title = "Compared image by image"
    if comparison is None:
        return Section(title, "The two sets do not have the same images, so only their figures are shown side by side.")
    rows = [
        (name, true, f"{one} ({probability:.0%})", f"{other} ({other_probability:.0%})")
        for name, true, one, probability, other, other_probability in changed[:MOST_ROWS]
    ]
    note = f"The first {MOST_ROWS} of {len(changed):,}; all are in {CHANGED}." if len(changed) > MOST_ROWS else ""
    return Section(
        title, comparison.sentence(), header=("image", "true", "scored set", "second set"), rows=rows, texts=4, note=note
    )


def _changed(first: Scored, second: Scored, comparison: Comparison, photos: Photos | None) -> list[Changed]:
    """The images that the two call differently."""

    def name(row: int) -> str:
        return photos.index.name(photos.rows[row]) if photos else one.name(row)

    def told(predictions: Predictions, row: int) -> tuple[str, float]:
        return predictions.labels[predictions.predicted[row]], float(predictions.probability[row])

    one, other = first.predictions, second.predictions
    return [
        (name(row), one.labels[one.true[row]], *told(one, row), *told(other, other_row)) for row, other_row in comparison.changed
    ]


def _mistakes_without_photos(predictions: Predictions) -> Section:
    rows = [
        (
            predictions.name(row),
            predictions.labels[predictions.true[row]],
            predictions.labels[predictions.predicted[row]],
            f"{predictions.probability[row]:.0%}",
        )
        for row in most_confident_mistakes(predictions, MOST_SHOWN)
    ]
    note = "Connect the images that were scored to the port dataset to see them here."
    title = "Most confident mistakes"
    return (
        Section(title, header=("image", "true", "predicted", "probability"), rows=rows, texts=3, note=note)
        if rows
        else Section(title, "There are none.")
    )


def _write_per_class(path: Path, evaluation: Evaluation) -> Path:
    images = supports(evaluation)
    rows = [(label, *figures.values(), images[label]) for label, figures in known_figures(evaluation).items()]
    return write_csv(path, ("class", "precision", "recall", "f1", "images"), rows)
