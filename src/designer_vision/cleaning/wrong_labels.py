"""Labels that are probably wrong, by what a network says that has not seen the images: confident learning.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (2021). The library of its authors,
cleanlab, takes seconds to import, and loads pandas and scikit-learn; what is needed of it is these lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROUNDING = 1e-6
"""Of a mean of probabilities that are all the same."""


@dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong.

    Attributes:
        place: of the image among those that were given.
        given: the number of its class.
        suggested: of the class that it probably has.
        given_probability, suggested_probability: what the network says of either.
    """

    place: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float


def find_wrong_labels(given: npt.NDArray[np.integer], probabilities: npt.NDArray[np.float64]) -> list[Suspect]:
    """The labels off the diagonal of the confident joint, the most certain first.

    An image counts as one of a class where the network gives that class at least the probability that it gives it on average
    over the images labelled so; of several such classes the most probable. Where that is not the label, the label is suspect.
    The order is that of the normalized margin: probability of the label minus that of the suggested class.

    Args:
        given: [n], the number of each image's class.
        probabilities: [n, classes].
    """
    count = probabilities.shape[1]
    own = probabilities[np.arange(len(given)), given]
    images = np.bincount(given, minlength=count)
    sums = np.bincount(given, own, minlength=count)
    thresholds = np.divide(sums, images, out=np.full(count, np.inf), where=images > 0)  # a class of no image is never suggested
    confident = np.where(probabilities >= thresholds - ROUNDING, probabilities, -1)
    suggested = confident.argmax(axis=1)
    most = confident.max(axis=1)
    suspects = np.flatnonzero((most >= 0) & (suggested != given))
    margins = own[suspects] - most[suspects]
    return [
        Suspect(int(place), int(given[place]), int(suggested[place]), float(own[place]), float(most[place]))
        for place in suspects[np.argsort(margins, kind="stable")]
    ]
