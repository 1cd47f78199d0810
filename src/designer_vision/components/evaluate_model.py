"""Evaluate Model: accuracy, precision, recall, F1, the confusion matrix and the mistakes of a scored set."""

from __future__ import annotations

from pathlib import Path

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.manifest import publishing, write_json
from designer_vision.inference.evaluation import Predictions, compare, evaluate
from designer_vision.report.evaluation_report import Photos, Scored, write_evaluation_report
from designer_vision.runtime.console import best_effort, say
from designer_vision.runtime.tracking import Tracker

METRICS = "metrics.json"


def main(scored_dataset: Path, scored_dataset_to_compare: Path | None, dataset: Path | None, evaluation_results: Path) -> None:
    """Write `metrics.json`, `report.html` and its pictures and tables.

    Args:
        scored_dataset: a scored set with true labels.
        scored_dataset_to_compare: another network's, of the same images or of others.
        dataset: the images of the first, to show those that are mistaken.
        evaluation_results: the output.

    Raises:
        NotLabeledDatasetError: a scored set has no true labels.
        InvalidDatasetError: a folder is no scored set, or the images are not those that were scored.
    """
    first = read_scored(scored_dataset)
    second = read_scored(scored_dataset_to_compare) if scored_dataset_to_compare else None
    photos = Photos.of(first.predictions, read_image_directory(dataset, original_names=True)) if dataset else None
    comparison = compare(first.predictions, second.predictions) if second else None
    with Tracker() as tracker, publishing(evaluation_results):
        content = first.evaluation.to_json()
        if second:
            content["to_compare"] = second.evaluation.to_json()
            content["comparison"] = comparison.to_json() if comparison else None
        write_json(evaluation_results / METRICS, content)
        tracker.log_metrics(first.evaluation.summary)
        if second:
            tracker.log_metrics({f"{name} to compare": value for name, value in second.evaluation.summary.items()})
        with best_effort("report.html"):
            for path in write_evaluation_report(evaluation_results, first, second, comparison, photos):
                tracker.log_artifact(path)
    if comparison:
        say(comparison.sentence())
    for name, scored in (("to compare: ", second), ("", first)):
        if scored:
            say(name + " | ".join(f"{metric} {value:.4g}" for metric, value in scored.evaluation.summary.items()))


def read_scored(folder: Path) -> Scored:
    """A scored set and its figures."""
    predictions = Predictions.of(read_data_frame_directory(folder), folder)
    return Scored(predictions, evaluate(predictions))
