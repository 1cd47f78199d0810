"""Which folder of a tree is the class of an image: a pure function of the images' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev"})
"""Names, in small letters, that people give to the parts of one data set."""
MOST_NAMED = 5


@dataclass(frozen=True)
class Reading:
    """What the names of some images say.

    Attributes:
        labels: the class of each image; "" where it has none. All "" in a folder without classes.
        used: whether each image counts; one outside the class folders does not, where there are any.
        notes: how the tree was read, where that is not plain to see.
        entered: the folder around everything, with a slash at its end; "" where there is none.
    """

    labels: list[str]
    used: list[bool]
    notes: list[str]
    entered: str = ""

    @property
    def has_classes(self) -> bool:
        return any(self.labels)


class TwoReadingsError(ValueError):
    """The names can be read in two ways; the message has both."""


def read_classes(names: Sequence[str]) -> Reading:
    """The classes of images that lie in folders.

    The class is the top folder, at whatever depth the image lies below it. Folders around everything are entered. Where all
    top folders are called train, val, test or the like and hold folders of the same names, these are the classes. Images
    outside the class folders are not used; without class folders no image has a label.

    Args:
        names: paths relative to the folder, with slashes.

    Raises:
        TwoReadingsError: classes or not, or which folders are the classes, cannot be told.
    """
    entered, split = 0, [name.split("/") for name in names]
    while True:
        loose = [parts for parts in split if len(parts) == entered + 1]
        tops = _grouped(split, entered)
        if len(tops) != 1:
            break
        (top, inner), *_ = tops.items()
        folders_below = {tuple(parts[:-1]) for parts in split if len(parts) > entered + 2}
        spreads = len(folders_below) > 1  # into folders that may be classes
        if loose and not spreads:
            return Reading([""] * len(names), [True] * len(names), [])  # one folder beside images says nothing
        if loose:
            raise TwoReadingsError(
                f"{len(split):,} images without classes, or the classes {_some(inner)} in {top} with {len(loose):,} images "
                f"beside that folder (such as {loose[0][-1]}); give {top} itself, or move one of the two away"
            )
        if not any(inner) or (len(inner) == 2 and "" in inner and not spreads):
            break  # one class
        entered += 1
    around = "".join(f"{part}/" for part in split[0][:entered]) if entered else ""
    notes = [f"the classes are looked for in {around}, which holds all the images"] if entered else []
    if not tops:
        return Reading([""] * len(names), [True] * len(names), notes, around)
    deeper, more = _parts(tops, all(len(parts) > entered + 3 for parts in split))
    in_folders = len(split) - len(loose)
    if len(loose) > in_folders:
        raise TwoReadingsError(
            f"{len(split):,} images without classes, or the classes {_some(tops)} with {in_folders:,} images, without the "
            f"{len(loose):,} beside these folders (such as {loose[0][-1]}); move one of the two away"
        )
    place = entered + deeper
    labels = [parts[place] if len(parts) > place + 1 else "" for parts in split]
    return Reading(labels, [label != "" for label in labels], notes + more, around)


Folders = dict[str, dict[str, int]]


def _grouped(split: Sequence[Sequence[str]], place: int) -> Folders:
    """The folders at a depth, and of each the folders inside it with their images; "" stands for those directly in it."""
    tops: Folders = {}
    for parts in split:
        if len(parts) > place + 1:
            inner = tops.setdefault(parts[place], {})
            name = parts[place + 1] if len(parts) > place + 2 else ""
            inner[name] = inner.get(name, 0) + 1
    return tops


def _parts(tops: Folders, all_deeper: bool) -> tuple[bool, list[str]]:
    """Whether the top folders are parts of one set, with the classes below them, and what to say of that.

    Args:
        tops: the folders in them, with their images.
        all_deeper: whether no image lies directly in one of those.
    """
    inside = {top: {name for name in inner if name} for top, inner in tops.items()}
    parts = {top: names for top, names in inside.items() if _is_part(top)}
    shared = any(one & other for one, other in combinations(parts.values(), 2))
    named = [top for top in tops if top.casefold() in PARTS]
    of_parts = [top for top, names in inside.items() if sum(map(_is_part, names)) > 1]
    wrapped = len(parts) == len(tops) > 1 and all(len(names) == 1 for names in parts.values()) and all_deeper
    if of_parts or wrapped:
        raise TwoReadingsError(
            f"the classes {_some(tops)}, or classes deeper down, below {_some(of_parts or parts)}; "
            "give the folder that holds the class folders"
        )
    if (shared and len(parts) == len(tops)) or (len(named) == len(tops) > 1 and sum(map(bool, parts.values())) == 1):
        return True, [
            f"{_some(parts)} are parts of one set: the classes are the folders in them, their images are taken together; "
            "give each part alone to keep them apart"
        ]
    if not shared and (len(named) < 2 or len(named) < len(tops)):
        return False, _same_inside(inside)
    below_parts = set[str]().union(*parts.values())
    classes = f"with the classes {_some(below_parts)}" if below_parts else "of images without classes"
    raise TwoReadingsError(
        f"the classes {_some(tops)}, or parts of one set {classes}; rename the folders, or give one part alone"
    )


def _is_part(name: str) -> bool:
    """Whether a folder is called like a part of a set: `train`, `test_set`, `Train2`."""
    return not PARTS.isdisjoint(re.split(r"[\W_\d]+", name.casefold()))


def _same_inside(inside: Mapping[str, set[str]]) -> list[str]:
    """What to say of class folders that all hold the same folders."""
    first, *others = inside.values()
    if len(first) < 2 or not others or any(names != first for names in others):
        return []
    return [f"the classes are {_some(inside)}, not the folders {_some(first)} in each; move those to the top if you mean them"]


def _some(names: Mapping[str, object] | Sequence[str] | set[str]) -> str:
    listed = sorted(name for name in names if name)
    return ", ".join(listed[:MOST_NAMED]) + (f" and {len(listed) - MOST_NAMED:,} more" if len(listed) > MOST_NAMED else "")
