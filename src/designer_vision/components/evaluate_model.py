"""Evaluate Model: accuracy, precision, recall, F1 and the confusion matrix of a scored set."""

from __future__ import annotations

from pathlib import Path

from designer_vision.console import say
from designer_vision.directories.data_frame_directory import read_data_frame_directory
from designer_vision.directories.manifest import publishing, write_json
from designer_vision.evaluation import Evaluation, draw_confusion_matrix, evaluate
from designer_vision.tracking import Tracker

METRICS = "metrics.json"


def main(scored_dataset: Path, scored_dataset_to_compare: Path | None, evaluation_results: Path) -> None:
    """Write `metrics.json` and `confusion_matrix.png`, for a second scored set too where one is given.

    Raises:
        NotLabeledDatasetError: a scored set has no true labels.
        InvalidDatasetError: a folder is no scored set.
    """
    evaluation = evaluate(read_data_frame_directory(scored_dataset), scored_dataset)
    compared = None
    if scored_dataset_to_compare is not None:
        compared = evaluate(read_data_frame_directory(scored_dataset_to_compare), scored_dataset_to_compare)
    with Tracker() as tracker, publishing(evaluation_results):
        _write_picture(evaluation, evaluation_results / "confusion_matrix.png", tracker)
        if compared:
            _write_picture(compared, evaluation_results / "confusion_matrix_to_compare.png", tracker)
        content = evaluation.to_json() | ({"to_compare": compared.to_json()} if compared else {})
        write_json(evaluation_results / METRICS, content)
        tracker.log_metrics(evaluation.summary)
        if compared:
            tracker.log_metrics({f"{name} to compare": value for name, value in compared.summary.items()})
    for name, value in evaluation.summary.items():
        other = f" (to compare: {compared.summary[name]:.4g})" if compared else ""
        say(f"{name} {value:.4g}{other}")


def _write_picture(evaluation: Evaluation, path: Path, tracker: Tracker) -> None:
    draw_confusion_matrix(evaluation, path)
    tracker.log_artifact(path)
