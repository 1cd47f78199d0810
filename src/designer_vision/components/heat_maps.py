"""The heat maps of a report: of the mistakes that it shows, and of some right predictions."""

from __future__ import annotations

from dataclasses import replace

import torch

from designer_vision.formats.model_directory import Model
from designer_vision.inference.evaluation import Predictions
from designer_vision.inference.heat_map import Seen, look
from designer_vision.report.mistakes import Photos, shown_mistakes, shown_right
from designer_vision.runtime.console import best_effort


def with_heat_maps(photos: Photos, predictions: Predictions, model: Model, device: torch.device) -> Photos:
    """The photos, and those that a report shows as the network sees them.

    Heat maps that cannot be made, for want of memory perhaps, are told and cost nothing else.

    Args:
        photos: the images of the predictions.
        predictions: the network's.
        model: the network; it has all predicted labels.
        device: where it computes.
    """
    shown = [*shown_mistakes(predictions), *shown_right(predictions)]
    labels = [(photos.rows[place], predictions.labels[predictions.predicted[place]]) for place in shown]
    seen: dict[int, Seen] = {}
    with best_effort("heat maps"):
        for place, found in zip(shown, look(model, photos.index, labels, device), strict=True):
            if found is not None:
                seen[place] = found
    return replace(photos, seen=seen)
