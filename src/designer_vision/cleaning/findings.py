"""All that is found about images, and which of them can be left out without a loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from designer_vision.cleaning.duplicates import LEAST_CORRELATION, MOST_DIFFERENCE, Copy, Rows, find_copies
from designer_vision.cleaning.looks import Looks
from designer_vision.cleaning.pool import Pool
from designer_vision.cleaning.quality import LEAST_SPREAD, RULES, USELESS, odd_pictures
from designer_vision.cleaning.wrong_labels import Suspect, find_wrong_labels
from designer_vision.formats.data_frame_directory import ScoredSet

LEAK, CONTRADICTION, EXACT, NEAR = "in both folders", "duplicates with different labels", "exact duplicates", "near duplicates"
WRONG_LABEL = "likely wrong labels"
ALIKE = (
    f"thumbnails of 32 x 32 pixels, made equal in brightness and contrast, correlate by {LEAST_CORRELATION} or more and differ "
    f"nowhere by more than {MOST_DIFFERENCE} of 255 levels"
)
SENTENCES = {
    LEAK: "The same image, or nearly, is in the folder to compare too. A network trained on it is measured on what it has seen.",
    CONTRADICTION: "The same image, or nearly, has different labels: one is wrong, or a detail tells them apart. Where all "
    "pixels are the same, leaving out takes all of them, as nobody knows which label is right; no others.",
    EXACT: "All pixels are the same, whatever the files are called. One of each group stays.",
    NEAR: f"The same picture at another size, saved anew, brighter or darker: {ALIKE}. The largest of each group stays, of equal "
    "ones the first.",
    WRONG_LABEL: "A network that was not trained on these images gives another class, and is as sure of it as it is on average "
    "of images of that class (confident learning). The most certain come first.",
    **RULES,
}
"""What the images of each kind are, in the order of the report."""


@dataclass(frozen=True)
class Finding:
    """What is found about one image.

    Attributes:
        kind: one of SENTENCES.
        row: of the image in the pool.
        detail: what was measured, or how it is like the others of its group.
        is_safe: whether leaving the image out loses nothing.
        group: the number of the images that are alike, from 1; 0 for one by itself.
        suggested: the label that it probably has; empty where none is known to be better.
    """

    kind: str
    row: int
    detail: str
    is_safe: bool = False
    group: int = 0
    suggested: str = ""


def find(pool: Pool, looks: Looks, wrong: Sequence[Finding]) -> list[Finding]:
    """All findings, by kind and group.

    Args:
        pool: the images.
        looks: of all of them.
        wrong: the labels that are likely wrong.
    """
    found = [*_alike(pool, looks), *wrong]
    for kind, pictures in odd_pictures(looks, pool.own).items():
        found += [Finding(kind, row, detail, kind in USELESS) for row, detail in pictures]
    order = list(SENTENCES)
    return sorted(found, key=lambda finding: (order.index(finding.kind), finding.group))


def find_wrong(scored: ScoredSet, rows: Sequence[int]) -> tuple[list[Finding], int]:
    """The labels that are likely wrong, the most certain first, and in how many images they were looked for.

    Args:
        scored: a labelled set.
        rows: of each of its images in the pool.
    """
    numbers = {label: number for number, label in enumerate(scored.labels)}
    given = np.array([numbers.get(label or "", -1) for label in scored.categories or []], np.int64)
    known = np.flatnonzero(given >= 0)
    suspects = find_wrong_labels(given[known], scored.probabilities[known])
    return [_wrong(rows[int(known[one.place])], one, scored.labels) for one in suspects], len(known)


def _wrong(row: int, suspect: Suspect, labels: Sequence[str]) -> Finding:
    given, suggested = labels[suspect.given], labels[suspect.suggested]
    suggested_share, given_share = 100 * suspect.suggested_probability, 100 * suspect.given_probability
    detail = f"{suggested} {suggested_share:.0f} %, {given} {given_share:.0f} %"
    return Finding(WRONG_LABEL, row, detail, suggested=suggested)


def preferred(pool: Pool, looks: Looks) -> tuple[Rows, int]:
    """The rows that can have copies, and how many of them are of the other folder.

    Those come first, as they are not ours to leave out; then labelled images before others, large before small ones.
    """
    measures = looks.measures
    rows = np.flatnonzero(measures["is_readable"] & (measures["spread"] >= LEAST_SPREAD))
    has_label = np.array([pool.label(int(row)) is not None for row in rows], bool)
    is_own = rows >= 0 if pool.others is None else rows < pool.own
    area = measures["size"][rows].astype(np.int64).prod(axis=1)
    order = np.lexsort((rows, -area, ~has_label, is_own))
    return rows[order], int((~is_own).sum())


def _alike(pool: Pool, looks: Looks) -> Iterator[Finding]:
    """The groups of images that are alike."""
    order, others = preferred(pool, looks)
    contents = looks.measures["content"]
    copies = find_copies(contents, looks.thumbnails, order, others)
    near = {copy.row: copy for copy in copies if not copy.is_exact}
    groups: defaultdict[int, list[Copy]] = defaultdict(list)
    for copy in copies:
        first = near.get(copy.stays)  # an exact copy of a near copy
        groups[first.stays if first else copy.stays].append(copy)
    for number, (stays, members) in enumerate(sorted(groups.items(), key=lambda item: -len(item[1])), 1):
        yield from _group(pool, looks, number, stays, members)


def _group(pool: Pool, looks: Looks, number: int, stays: int, members: Sequence[Copy]) -> Iterator[Finding]:
    """The findings of one group: first the image that stays, then its copies."""
    rows = [stays, *(copy.row for copy in members)]
    by_content: defaultdict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        by_content[looks.measures["content"][row].tobytes()].append(row)
    torn = {row for same in by_content.values() if _differ(pool, same) for row in same}
    is_leak, differs = stays >= pool.own, _differ(pool, rows)
    kind = LEAK if is_leak else CONTRADICTION if differs else EXACT if len(by_content) == 1 else NEAR
    detail = "in the other folder" if is_leak else "" if differs else "stays"
    yield Finding(kind, stays, detail, kind == CONTRADICTION and stays in torn, number)
    for copy in sorted(members, key=lambda copy: (not copy.is_exact, copy.row)):
        is_safe = kind != CONTRADICTION or copy.row in torn or copy.is_exact
        yield Finding(
            kind,
            copy.row,
            "the same pixels" if copy.is_exact else f"similarity {min(copy.similarity, 0.999):.3f}",
            is_safe,
            number,
        )


def _differ(pool: Pool, rows: Sequence[int]) -> bool:
    """Whether images have different labels; one without a label contradicts none."""
    return len({label for row in rows if (label := pool.label(row)) is not None}) > 1
