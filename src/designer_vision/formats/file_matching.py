"""Which file below a folder a path or an address means that was written where the images lay elsewhere: its last parts tell."""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from urllib.parse import unquote

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
WEB = frozenset({"http", "https", "wasb", "wasbs", "abfs", "abfss"})
"""Schemes of addresses that can end with a query, such as a SAS token."""
WHOLE = 1000
"""The rank of a location that is a file's whole path: more than any path has parts."""


@dataclass(frozen=True, slots=True)
class Match:
    """A file that a location means.

    Attributes:
        name: of the file, relative to the folder.
        rank: how many of the last parts are the same; WHOLE where all of the path is.
        by_name_alone: whether both have a folder, and these differ.
    """

    name: str
    rank: int
    by_name_alone: bool = False


class SeveralFilesError(ValueError):
    """Several files end with equally many parts of a location; the arguments are the location and two of them."""


class FileMatcher:
    """The files below a folder, found by the last parts of their paths; however many end alike, a search is a bisection."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._known = frozenset(names)

    @cached_property
    def _by_end(self) -> _Turned:
        return _Turned.of((name, name) for name in self.names)

    @cached_property
    def _by_stem(self) -> _Turned:
        return _Turned.of((posixpath.splitext(name)[0], name) for name in self.names)

    def match(self, locations: Sequence[str], base: str = "", without_suffix: bool = False) -> Match | None:
        """The file that is meant; None where there is none.

        A file whose whole path is a location counts first, then the one that shares most of its last parts. An address that
        tells more parts than such a path has, as it does of a mere file name, counts before it.

        Args:
            locations: paths or addresses that all mean the same image, the best first.
            base: the folder of the file that names them, relative to the folder; empty for the folder itself.
            without_suffix: whether a name may lack the file's suffix, as `image_id` does.

        Raises:
            SeveralFilesError: several files share most parts.
        """
        split = []
        for location in locations:
            beside, parts = parts_of(f"{base}/{location}") if base else [], parts_of(location)
            split.append((location, parts or beside))
            for path in ("/".join(beside), location, "/".join(parts)):
                if path in self._known:
                    return self._better(path, parts, locations) or Match(path, WHOLE)
        for index in (self._by_end, self._by_stem) if without_suffix else (self._by_end,):
            found = [(index.find(parts), location, parts) for location, parts in split if parts]
            (rank, names), location, parts = max(found, key=lambda one: one[0][0], default=((0, []), "", []))
            if len(names) > 1:
                raise SeveralFilesError(location, *names)
            if names:
                return Match(names[0], rank, rank == 1 < len(parts) and "/" in names[0])
        return None

    def _better(self, path: str, parts: Sequence[str], locations: Sequence[str]) -> Match | None:
        """The file of a location that tells more parts than the path of this one has."""
        others = [other for other in map(parts_of, locations[1:]) if len(other) > len(parts)]
        rank, names = max((self._by_end.find(other) for other in others), default=(0, []))
        return Match(names[0], rank) if rank > path.count("/") + 1 and len(names) == 1 else None


@dataclass(frozen=True)
class _Turned:
    """Paths from their last part to their first, sorted, so that those with the same end stand together; and the files' names."""

    paths: list[str]
    names: list[str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> _Turned:
        turned = sorted((_turned(path.split("/")), name) for path, name in pairs)
        return cls([path for path, _ in turned], [name for _, name in turned])

    def find(self, parts: Sequence[str]) -> tuple[int, list[str]]:
        """How many last parts the best files share, and the names of two of these files at most."""
        key = _turned(parts)
        place = bisect_left(self.paths, key)
        near = self.paths[max(0, place - 1) : place + 1]  # those with the longest common end stand on both sides
        shared = max([_shared(path, key) for path in near], default=0)
        if not shared:
            return 0, []
        end = _turned(parts[-shared:])
        first = max(0, place - 2)
        found = [self.names[first + n] for n, path in enumerate(self.paths[first : place + 2]) if path.startswith(end)]
        return shared, found[:2]


def _turned(parts: Sequence[str]) -> str:
    return "/".join(reversed(parts)) + "/"


def _shared(one: str, other: str) -> int:
    """How many parts two turned paths have in common."""
    if other.startswith(one):
        return one.count("/")
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.split("/"), other.split("/"), strict=False)))


def parts_of(location: str) -> list[str]:
    """The folders and the name in a path or an address; none where `..` points outside it.

    Of an address, escapes are decoded; what stands before the path (host, datastore) and a query behind it are left out.
    """
    scheme, separator, rest = location.partition("://")
    if separator and SCHEME.fullmatch(scheme):
        if scheme.lower() in WEB:
            rest = re.split("[?#]", rest, maxsplit=1)[0]
        in_datastore = rest.partition("/paths/")[2] if scheme.lower() == "azureml" else ""
        path = unquote(in_datastore or rest.partition("/")[2], errors="surrogateescape")
    else:
        path = location.replace("\\", "/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return []
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts
