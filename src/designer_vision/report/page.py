"""One page with all of a run: a file that needs no network and no script, whatever the names in it contain."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from designer_vision.report.mistakes import Example
from designer_vision.report.photos import Card
from designer_vision.runtime.console import printable

LARGE = 700
LONGEST_TEXT = 300
"""Of a name in a page: a class can be called whatever a folder can."""


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is not shown.

    Attributes:
        title: its heading.
        text: a sentence or two below it.
        picture: a PNG file's bytes.
        examples: photos with their labels.
        groups: photos that belong together.
        cards: photos that do not.
        header, rows: a table; without a header its rows are names and values.
        texts: how many columns of it, from the left, are texts; the others are figures.
        codes: texts to copy.
        note: small print below.
    """

    title: str
    text: str = ""
    picture: bytes = b""
    examples: Sequence[Example] = ()
    groups: Sequence[Sequence[Card]] = ()
    cards: Sequence[Card] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    texts: int = 1
    codes: Sequence[str] = ()
    note: str = ""

    @property
    def is_large(self) -> bool:
        """Whether the picture cannot be read when it is made as narrow as a phone."""
        return int.from_bytes(self.picture[16:20]) > LARGE  # where a PNG file has its width


@dataclass(frozen=True)
class Page:
    """What the page says, from top to bottom."""

    title: str
    subtitle: str
    tiles: Sequence[tuple[str, str]]
    remarks: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as HTML. All texts are escaped, and what cannot be seen in them is made visible."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"shown": _shown, "lines": _lines, "png": _png}
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(page=page)


def _shown(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _png(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def to_markdown(page: Page) -> str:
    """What the page says at its top, as Markdown."""
    lines = [f"# {_escaped(page.title)}", "", _escaped(page.subtitle), "", "| | |", "|---|---|"]
    lines += [f"| {_escaped(name)} | {_escaped(value)} |" for name, value in page.tiles]
    lines += ["", *(f"* {_escaped(remark)}" for remark in page.remarks)]
    lines += [f"* Warning: {_escaped(warning)}" for warning in page.warnings]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    """A name can contain what Markdown, or HTML in it, reads as a sign."""
    return re.sub(r"([\\`*_{}\[\]<>#|&!~])", r"\\\1", _shown(text))
