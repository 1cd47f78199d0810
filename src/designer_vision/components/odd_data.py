"""What is odd about labels and pictures and may not be meant, a sentence each: known without training on it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

MOST_NAMED = 5


def look_alike_labels(labels: Iterable[str]) -> list[str]:
    """Labels that differ by case, blanks or the composition of letters only, and so are probably one class."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        plain = " ".join(unicodedata.normalize("NFC", label).casefold().split())
        alike.setdefault(plain, []).append(label)
    return [
        f"the labels {some([repr(label) for label in sorted(found)])} differ only by case, blanks or the composition of letters; "
        "if they mean one class, give them one name"
        for found in alike.values()
        if len(found) > 1
    ]


def repeated_pictures(labels: npt.NDArray[np.integer], hashes: npt.NDArray[np.bytes_], classes: Sequence[str]) -> list[str]:
    """Pictures that are there more than once, byte for byte: under one label, and, which is worse, under several.

    Args:
        labels: [n], the number of each image's class.
        hashes: [n], 16 bytes each (`S16`).
        classes: the names of the numbers.
    """
    order = np.lexsort((labels, hashes))
    hashes, labels = hashes[order], labels[order]
    same = hashes[1:] == hashes[:-1] if len(hashes) else np.zeros(0, bool)
    other_label = same & (labels[1:] != labels[:-1])
    found = []
    if copies := int(same.sum() - other_label.sum()):
        found.append(f"copies of another image with the same label, byte for byte: {copies:,}")
    if other_label.any():
        place = int(np.flatnonzero(other_label)[0])
        pair = [classes[number] if number >= 0 else "no label" for number in labels[place : place + 2]]
        found.append(
            f"the same image under two labels, byte for byte: {int(other_label.sum()):,} (the first one under {pair[0]!r} and "
            f"{pair[1]!r}); a network cannot learn both: remove one of each"
        )
    return found


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
