"""How far a network's probabilities can be believed: a temperature, the calibration error, and what a threshold answers.

A temperature T divides the logits before the softmax (Guo et al. 2017, arXiv 1706.04599). It changes no prediction, for it keeps
their order, and makes "80 %" mean that about 80 of 100 such answers are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures beyond which probabilities say nothing any more: all of them 0 or 1, or all of them equal."""
FEWEST_IMAGES = 30
"""To fit a temperature to."""
BINS = 15
"""Of the calibration error, as the literature has them."""
TARGETS = (0.90, 0.95, 0.99)
FITTED_TO = 2**22
"""Probabilities at most: of more images, evenly spaced ones. Some seconds, and a quarter of a gigabyte."""
ROWS = 4096
"""At a time."""
DECIMALS = 4
"""Of thresholds: what is shown is what was counted."""

Numbers = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]


def refusal_of(labels: Numbers) -> str:
    """Why no temperature can be fitted to images with these labels; empty if one can."""
    if len(labels) < FEWEST_IMAGES:
        return f"there are {len(labels)} validation images, and {FEWEST_IMAGES} are needed"
    if len(np.unique(labels)) < 2:
        return "all validation images are of one class"
    return ""


def fit_temperature(log_probabilities: Figures, labels: Numbers) -> float:
    """The temperature with which the labels are most probable.

    It is as if one image more had been seen, whose label is the most probable one of the others (after Platt 1999): without it a
    network that is right on every image would be taken for one that never errs.

    Args:
        log_probabilities: [n, classes] at a temperature of 1; logits do as well.
        labels: [n].

    Returns:
        A number between `LOWEST` and `HIGHEST`, of four digits.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    assert len(log_probabilities) == len(labels) > 0
    rows = np.arange(len(labels))
    others = log_probabilities.copy()
    others[rows, labels] = -np.inf
    one_more = others.max(axis=1).mean()
    seen = log_probabilities[rows, labels].mean()
    aimed_at = (len(labels) * seen + one_more) / (len(labels) + 1)

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(logsumexp(inverse * log_probabilities, axis=1).mean() - inverse * aimed_at)

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-5})
    return float(f"{np.exp(found.x):.4g}")


def with_temperature(log_probabilities: Figures, temperature: float) -> Figures:
    """Probabilities [n, classes] at a temperature, of what they are at 1."""
    from scipy.special import softmax

    probabilities: Figures = softmax(log_probabilities / temperature, axis=1)
    return probabilities


@dataclass(frozen=True)
class Reliability:
    """How often predictions of some probability are right.

    Attributes:
        images: in each of `BINS` equally wide bins of the predicted label's probability.
        confidence: mean probability in each bin; 0 where it is empty.
        accuracy: share predicted rightly in each bin; 0 where it is empty.
    """

    images: Numbers
    confidence: Figures
    accuracy: Figures

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and accuracy are apart, averaged over the images."""
        return float((self.images / self.images.sum() * np.abs(self.confidence - self.accuracy)).sum())

    @property
    def chance(self) -> float:
        """The calibration error that so many images have on average where every probability is right: half a normal deviation."""
        deviations = np.sqrt(self.confidence * (1 - self.confidence) * self.images)
        return float(np.sqrt(2 / np.pi) * deviations.sum() / self.images.sum())

    def sentence(self) -> str:
        """What it comes to."""
        share = self.images / self.images.sum()
        confidence, accuracy = (float((share * column).sum()) for column in (self.confidence, self.accuracy))
        return (
            f"Predictions have a probability of {confidence:.1%} on average, and {accuracy:.1%} of them are right (expected "
            f"calibration error {self.error:.1%}; for so many images chance alone gives {self.chance:.1%})."
        )


def reliability(probability: Figures, right: npt.NDArray[np.bool_]) -> Reliability:
    """Sort predictions into bins by their probability.

    Args:
        probability: [n] of the predicted label.
        right: [n], whether that is the true one.
    """
    bins = np.clip(np.ceil(probability * BINS).astype(np.int64) - 1, 0, BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    at_least_one = np.maximum(images, 1)
    confidence = np.bincount(bins, weights=probability, minlength=BINS) / at_least_one
    accuracy = np.bincount(bins, weights=right, minlength=BINS) / at_least_one
    return Reliability(images, confidence, accuracy)


@dataclass(frozen=True)
class Threshold:
    """What is left if only predictions of at least some probability count as answers.

    Attributes:
        target: accuracy that the answers shall have.
        probability: the lowest one with which they have it, of `DECIMALS` decimals; None where no threshold has it, or so few
            answers that one mistake among them would be too many.
        coverage: share of the images that are answered.
        accuracy: of the answers.
    """

    target: float
    probability: float | None
    coverage: float = 0.0
    accuracy: float = 0.0


def thresholds(probability: Figures, right: npt.NDArray[np.bool_], targets: Sequence[float] = TARGETS) -> tuple[Threshold, ...]:
    """For each accuracy, below 1, the threshold that answers most images."""
    probability = rounded_down(probability)
    order = np.argsort(-probability, kind="stable")
    falling, rightly = probability[order], right[order].cumsum()
    answered = np.arange(1, len(order) + 1)
    ends = np.append(falling[1:] != falling[:-1], True)  # equal probabilities are answered together
    found = []
    for target in targets:
        fewest = round(1 / (1 - target))
        enough = np.flatnonzero(ends & (answered >= fewest) & (rightly >= target * answered - 1e-9))
        if not len(enough):
            found.append(Threshold(target, None))
            continue
        last = enough[-1]
        found.append(
            Threshold(target, float(falling[last]), float(answered[last] / len(order)), float(rightly[last] / answered[last]))
        )
    return tuple(found)


def rounded_down(probability: Figures) -> Figures:
    """The largest number of `DECIMALS` decimals that is not above each probability: the float that such a literal gives."""
    steps = 10**DECIMALS
    found: Figures = np.floor(probability * steps)
    found += (found + 1) / steps <= probability
    found -= found / steps > probability
    rounded: Figures = found / steps
    return rounded


@dataclass(frozen=True)
class Calibration:
    """What a temperature does to a network's probabilities.

    Attributes:
        temperature: that was fitted; 1 where none could be.
        refusal: why none could be; else empty.
        before, after: how often predictions are right, without and with it.
        thresholds: what is left, with it, if only probable predictions count.
    """

    temperature: float
    refusal: str
    before: Reliability
    after: Reliability
    thresholds: tuple[Threshold, ...]

    @property
    def is_at_a_limit(self) -> bool:
        """Whether the fit ended where probabilities say nothing any more."""
        return not LOWEST * 1.01 < self.temperature < HIGHEST / 1.01


def calibrate(log_probabilities: npt.NDArray[np.float32], labels: Numbers) -> tuple[Calibration, Figures]:
    """Fit a temperature to labelled images, where there are enough of them.

    Args:
        log_probabilities: [n, classes] at a temperature of 1.
        labels: [n].

    Returns:
        What comes of it, and the probability [n] of each predicted label with it.
    """
    refusal = refusal_of(labels)
    few = slice(None, None, -(-log_probabilities.size // FITTED_TO))
    temperature = 1.0 if refusal else fit_temperature(log_probabilities[few].astype(np.float64), labels[few])
    right = log_probabilities.argmax(axis=1) == labels
    before, after = (highest_probabilities(log_probabilities, one) for one in (1.0, temperature))
    found = Calibration(temperature, refusal, reliability(before, right), reliability(after, right), thresholds(after, right))
    return found, after


def highest_probabilities(log_probabilities: npt.NDArray[np.float32], temperature: float) -> Figures:
    """The probability [n] of each image's predicted label at a temperature, some rows at a time."""
    parts = (log_probabilities[first : first + ROWS] for first in range(0, len(log_probabilities), ROWS))
    return np.concatenate([with_temperature(part.astype(np.float64), temperature).max(axis=1) for part in parts])
