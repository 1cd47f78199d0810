"""Evaluate Model: accuracy, precision, recall, F1, the confusion matrix and the mistakes of a scored set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designer_vision.formats.data_frame_directory import ScoredSet, read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.manifest import publishing, write_json
from designer_vision.inference.evaluation import Predictions, compare, evaluate
from designer_vision.report.evaluation_report import Scored, write_evaluation_report
from designer_vision.report.mistakes import Photos
from designer_vision.runtime.console import best_effort, say
from designer_vision.runtime.errors import InvalidDatasetError, InvalidModelDirectoryError
from designer_vision.runtime.tracking import Tracker

METRICS = "metrics.json"
CONNECT = "connect the model that Score Image Model was given"


def main(
    scored_dataset: Path,
    scored_dataset_to_compare: Path | None,
    dataset: Path | None,
    trained_model: Path | None,
    evaluation_results: Path,
) -> None:
    """Write `metrics.json`, `report.html` and its pictures and tables.

    Args:
        scored_dataset: a scored set with true labels.
        scored_dataset_to_compare: another network's, of the same images or of others.
        dataset: the images of the first, to show those that are mistaken.
        trained_model: what scored the first, to show where in these images it looks.
        evaluation_results: the output.

    Raises:
        NotLabeledDatasetError: a scored set has no true labels.
        InvalidDatasetError: a folder is no scored set, the images are not those that were scored, or are missing.
        InvalidModelDirectoryError: the model is untrained or damaged, or another one scored.
    """
    if trained_model and not dataset:
        raise InvalidDatasetError(
            f"{trained_model} is connected and dataset is not: heat maps are drawn over images; connect those that Score Image "
            "Model scored, or leave the model out"
        )
    scored_set = read_data_frame_directory(scored_dataset)
    first = evaluated(scored_set, scored_dataset)
    second = None
    if scored_dataset_to_compare:
        second = evaluated(read_data_frame_directory(scored_dataset_to_compare), scored_dataset_to_compare)
    photos = Photos.of(first.predictions, read_image_directory(dataset, original_names=True)) if dataset else None
    if photos and trained_model:
        photos = seen_by(trained_model, scored_set.labels, photos, first.predictions)
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


def evaluated(scored: ScoredSet, folder: Path) -> Scored:
    """A scored set and its figures."""
    predictions = Predictions.of(scored, folder)
    return Scored(predictions, evaluate(predictions))


def seen_by(folder: Path, labels: Sequence[str], photos: Photos, predictions: Predictions) -> Photos:
    """The photos with the heat maps of the network that scored them.

    Args:
        folder: of the network.
        labels: of the scored set.
        photos: that were scored.
        predictions: the scored set's.

    Raises:
        InvalidModelDirectoryError: it is untrained or damaged, or another one scored them.
    """
    from designer_vision.components.heat_maps import with_heat_maps  # with torch, which takes seconds
    from designer_vision.inference.scoring import read_trained_model
    from designer_vision.runtime.gpus import device_for_scoring

    model = read_trained_model(folder)
    if different := set(model.labels) ^ set(labels):
        raise InvalidModelDirectoryError(
            f"{folder} did not score these images: it has {len(model.labels)} classes and the scored set "
            f"{len(labels)}, and {min(different)!r} is in one of them only; {CONNECT}"
        )
    found = with_heat_maps(photos, predictions, model, device_for_scoring())
    others = sum(seen.label != predictions.labels[predictions.predicted[place]] for place, seen in found.seen.items())
    if 2 * others > len(found.seen):
        raise InvalidModelDirectoryError(
            f"{folder} did not score these images: it labels {others} of {len(found.seen)} otherwise; {CONNECT}"
        )
    return found
