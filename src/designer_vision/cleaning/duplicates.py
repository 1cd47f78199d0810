"""Pictures that are the same, or nearly: at another size, saved anew, a little brighter.

Two pictures are nearly the same where their thumbnails of 32 x 32 pixels, made equal in brightness and contrast, correlate and no
place of them differs by much. All are compared with all on 8 x 8 pixels first, by products of matrices.

Perceptual hashes of 64 bits were tried instead (pHash, at up to 12 bits): they miss a third of the drawings that were halved and
saved as JPEG, as the bits of a symmetric picture are chance, and what they find has to be confirmed like this all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from designer_vision.data.images import Pixels

LEAST_CORRELATION = 0.98
"""Of the thumbnails of near duplicates."""
MOST_DIFFERENCE = 25
"""Of 255 levels, by which a place of them, one of 16 x 16, may differ: a sign or a digit in a picture differs by 40 and more."""
LEAST_COARSE = 0.97
"""Correlation on COARSE x COARSE pixels from which on thumbnails are compared."""
COARSE, PLACES = 8, 16
PRODUCTS = 2**22
"""Correlations held at a time: 16 MB, and at most as many pairs of places of 16 bytes."""
AT_A_TIME = 1024

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Copy:
    """A picture that is there once more.

    Attributes:
        row: of the copy.
        stays: the row of the picture that it is a copy of.
        similarity: the correlation of their thumbnails; 1 where all pixels are the same.
        is_exact: whether they are.
    """

    row: int
    stays: int
    similarity: float
    is_exact: bool


def find_copies(contents: npt.NDArray[np.void], thumbnails: Pixels, order: Rows, fixed: int) -> list[Copy]:
    """The copies of each picture among those behind it in an order. What is itself a near copy has none but exact ones.

    So every copy is close to the picture that stays for it, however long a series is of which each resembles the next.

    Args:
        contents: V16 [n], a hash of each picture's pixels.
        thumbnails: uint8 [n, side, side, 3].
        order: rows, those first that are rather kept.
        fixed: how many of them, from the front, are no copies whatever they look like.
    """
    _, first, which = np.unique(contents[order], return_index=True, return_inverse=True)
    original = first[which]  # the place in the order of the first with these pixels
    places = np.arange(len(order))
    exact = [
        Copy(int(order[place]), int(order[original[place]]), 1.0, True)
        for place in np.flatnonzero(original != places)
        if place >= fixed
    ]
    kept = np.flatnonzero(original == places)
    rows = order[kept]
    return exact + find_near(thumbnails, rows, int(np.searchsorted(kept, fixed)))


def find_near(thumbnails: Pixels, rows: Rows, fixed: int) -> list[Copy]:
    """Near copies among pictures that all differ; arguments as for `find_copies`."""
    if not len(rows):
        return []
    parts = [_coarse(thumbnails[rows[start : start + AT_A_TIME]]) for start in range(0, len(rows), AT_A_TIME)]
    coarse = np.concatenate(parts)
    is_copy = np.zeros(len(rows), bool)
    found = []
    at_a_time = max(1, PRODUCTS // len(rows))
    for start in range(0, len(rows), at_a_time):
        later = max(start, fixed)
        first, second = np.nonzero(coarse[start : start + at_a_time] @ coarse[later:].T >= LEAST_COARSE)
        first, second = first + start, second + later
        is_behind = second > first
        places, begins = np.unique(first[is_behind], return_index=True)
        for place, candidates in zip(places, np.split(second[is_behind], begins[1:]), strict=False):
            candidates = candidates[~is_copy[candidates]]
            if is_copy[place] or not len(candidates):
                continue
            similarity = compare(thumbnails[rows[place]], thumbnails, rows[candidates])
            close = similarity > 0
            is_copy[candidates[close]] = True
            found += [
                Copy(int(rows[candidate]), int(rows[place]), float(value), False)
                for candidate, value in zip(candidates[close], similarity[close], strict=True)
            ]
    return found


def _coarse(thumbnails: Pixels) -> npt.NDArray[np.float32]:
    """Thumbnails of COARSE x COARSE pixels as vectors of length 1, so that products are correlations; float32 [n, values]."""
    side = thumbnails.shape[1] // COARSE
    small = thumbnails.reshape(-1, COARSE, side, COARSE, side, 3).mean(axis=(2, 4), dtype=np.float32)
    return _centred(small)[0]


def _centred(pictures: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Pictures as vectors of mean 0 and length 1, and the lengths that they had; zeros where nothing can be seen."""
    values = pictures.reshape(len(pictures), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0), lengths


def compare(thumbnail: Pixels, thumbnails: Pixels, rows: Rows) -> npt.NDArray[np.float32]:
    """How similar one picture is to each of others, where it is nearly the same; 0 where not.

    Args:
        thumbnail: uint8 [side, side, 3].
        thumbnails, rows: the others, a few at a time in memory.
    """
    one, length = _centred(thumbnail[None])
    similarity = np.zeros(len(rows), np.float32)
    side = len(thumbnail) // PLACES
    for start in range(0, len(rows), AT_A_TIME):
        others, _ = _centred(thumbnails[rows[start : start + AT_A_TIME]])
        correlation = others @ one[0]
        differences = ((others - one) * length).reshape(-1, PLACES, side, PLACES, side, 3).mean(axis=(2, 4))
        is_close = (correlation >= LEAST_CORRELATION) & (np.abs(differences).max(axis=(1, 2, 3)) <= MOST_DIFFERENCE)
        similarity[start : start + AT_A_TIME] = np.where(is_close, np.minimum(correlation, 1), 0)
    return similarity
