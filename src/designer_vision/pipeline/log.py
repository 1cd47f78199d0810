"""A step's log, read on while it is written: what its lines say of the work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from designer_vision.runtime.console import printable

MOST_BYTES = 2**16
"""Read at a time: of a log that grows faster only the end counts."""
MOST_EPOCHS = 10_000
MOST_WARNINGS, LONGEST_WARNING = 20, 600
COUNT, NUMBER = r"[0-9]{1,9}", r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
RANK = re.compile(rf"\Arank {COUNT}: ")
EPOCH = re.compile(rf"epoch ({COUNT})/({COUNT})")
ITERATION = re.compile(rf"{EPOCH.pattern} iteration ({COUNT})/({COUNT})")
IMAGES = re.compile(rf"({COUNT})/({COUNT}) images")
FIELD = re.compile(
    rf"(?P<images_per_second>{NUMBER}) images/s|(?:train )?loss (?P<loss>{NUMBER})|top-1 (?P<top1>{NUMBER})|"
    r"(?P<left>(?:[0-9]{1,5} days?, )?[0-9]{1,2}:[0-9]{2}:[0-9]{2}) left"
)
WARNING = re.compile(r"(?i:warning): (.+)")
MORE_WARNINGS = "there are more in its log"
SPEED = re.compile(rf"(?<![0-9.])({NUMBER}) images/s\b")
KEPT = re.compile(rf"kept epoch {COUNT}/{COUNT} \| valid loss {NUMBER} \| top-1 ({NUMBER}) \| ")


@dataclass(frozen=True)
class Figures:
    """What a log has said so far; None, or nothing, of what it has not.

    Attributes:
        share: of the work that is done, from 0 to 1.
        images_per_second: the last.
        loss: of the training images, the last.
        top1: of the validation images, from 0 to 1: the last epoch's, in the end the kept one's.
        left: the time that the rest will take, as the log writes it.
        epochs: the lines of the epochs that have ended.
        last_line: whatever it is, without its rank.
        warnings: the first of all processes', each once.
    """

    share: float | None = None
    images_per_second: float | None = None
    loss: float | None = None
    top1: float | None = None
    left: str = ""
    epochs: tuple[str, ...] = ()
    last_line: str = ""
    warnings: tuple[str, ...] = ()


class Logs:
    """The logs of a step's processes: the figures of the first, and the warnings of all."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._logs = [Log(path) for path in paths]
        self._warnings: tuple[str, ...] = ()

    def poll(self) -> Figures:
        """The figures after all whole lines that are there by now."""
        first, *others = [log.poll() for log in self._logs]
        for figures in (first, *others):
            for warning in figures.warnings:
                self._warnings = with_warning(self._warnings, warning)
        return replace(first, warnings=self._warnings)


class Log:
    """The log of one process, followed from its beginning."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._figures = path, 0, Figures()

    def poll(self) -> Figures:
        """The figures after all whole lines that are there by now."""
        for line in self._added():
            self._figures = after(self._figures, line)
        return self._figures

    def _added(self) -> Iterator[str]:
        try:
            with self._path.open("rb") as file:
                start = max(self._place, file.seek(0, os.SEEK_END) - MOST_BYTES)
                file.seek(start)
                content = file.read(MOST_BYTES)
        except OSError:  # the log is there to be shown, and a run does not end because it cannot be
            return
        lines = content.splitlines(keepends=True)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            lines.pop()
        whole = lines[1:] if start > self._place else lines  # without the rest of one whose beginning was passed over
        self._place = start + sum(map(len, lines))
        for line in whole:
            if line.strip():
                yield printable(line.decode(errors="replace").strip())


def after(figures: Figures, line: str) -> Figures:
    """The figures after one more line of the log. Only lines that begin as ours do are taken at their word."""
    text = RANK.sub("", line)
    head, *fields = text.split(" | ")
    found: dict[str, Any] = {"last_line": text}
    if warning := WARNING.match(text):
        found["warnings"] = with_warning(figures.warnings, warning[1][:LONGEST_WARNING])
    if (share := _share(head)) is not None:
        found["share"] = share
        for match in filter(None, map(FIELD.fullmatch, fields)):
            name, value = str(match.lastgroup), match[str(match.lastgroup)]
            found[name] = value if name == "left" else float(value)
        if EPOCH.fullmatch(head) and len(figures.epochs) < MOST_EPOCHS:
            found["epochs"] = (*figures.epochs, text)
    elif speed := SPEED.search(text):  # a component's last line, or another program's
        found["images_per_second"] = float(speed[1])
    elif kept := KEPT.match(text):
        found["top1"] = float(kept[1])
    return replace(figures, **found)


def with_warning(before: tuple[str, ...], warning: str) -> tuple[str, ...]:
    """Some warnings and another, each once, and no more than can be read."""
    if warning in before or before[-1:] == (MORE_WARNINGS,):
        return before
    return (*before, warning if len(before) < MOST_WARNINGS else MORE_WARNINGS)


def _share(head: str) -> float | None:
    """How much is done where a line begins like this; None for any other beginning."""
    if match := ITERATION.fullmatch(head):
        epoch, epochs, iteration, iterations = map(int, match.groups())
        done, whole = (epoch - 1) * iterations + iteration, epochs * iterations
    elif match := EPOCH.fullmatch(head) or IMAGES.fullmatch(head):
        done, whole = map(int, match.groups())
    else:
        return None
    return min(max(done / whole, 0.0), 1.0) if whole else None
