"""The page: its texts escaped, its pictures inside, nothing fetched; read by a real browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import BROWSER, needs_browser

from designer_vision.report.mistakes import Example
from designer_vision.report.page import LONGEST_TEXT, Page, Section, render, to_markdown
from designer_vision.report.photos import Card
from designer_vision.report.pictures import draw_mistakes

HOSTILE = (
    "<script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=1">',
    "a\nb\x1b[31m",
    "‮txt.exe",
    "{{ 7 * 7 }}",
    "|`*_[x](javascript:alert(1))",
    "w" * 5000,
)
"""What classes and files may be called."""


def mistake(name: str, photo: bool = True) -> Example:
    pixels = np.full((20, 30, 3), 99, np.uint8)
    return Example(name, name, name, 0.987, pixels if photo else None)


def hostile_page() -> Page:
    mistakes = [mistake(name, photo=name != HOSTILE[2]) for name in HOSTILE]
    columns = [f"column {number}" for number in range(12)]
    sections = [
        Section("Photos", HOSTILE[0], draw_mistakes(mistakes), mistakes),
        Section("Table", header=columns, rows=[(name, *["1,234.56"] * 11) for name in HOSTILE], note=HOSTILE[1]),
        Section("Facts", rows=[(name, name) for name in HOSTILE], codes=[f"first {HOSTILE[0]}\nsecond {'x' * 300}"]),
    ]
    return Page(HOSTILE[0], HOSTILE[1], [(name, name) for name in HOSTILE], HOSTILE, HOSTILE, sections)


def test_names_are_text_whatever_they_contain() -> None:
    page = render(hostile_page())
    assert "<script" not in page
    assert len(re.findall(r"<img ", page)) == 1 + len(HOSTILE) - 1  # the contact sheet, and each photo but the one that is gone
    assert html.escape("{{ 7 * 7 }}") in page
    assert "\x1b" not in page
    assert "‮" not in page
    assert "\\u202etxt.exe" in page
    assert "w" * LONGEST_TEXT not in page


def test_photos_that_belong_together_stand_together_and_their_names_are_text() -> None:
    cards = [Card(name, None if name == HOSTILE[2] else np.zeros((9, 9, 3), np.uint8), name, (name,), name) for name in HOSTILE]
    page = render(Page("t", "s", [], sections=[Section("x", groups=[cards, cards[:2]], cards=cards[:1])]))
    assert "<script" not in page
    assert len(re.findall(r"<img ", page)) == len(HOSTILE) - 1 + 2 + 1
    assert (page.count('class="cards plain group"'), page.count('class="cards plain"'), page.count("cannot be read")) == (2, 1, 1)


def test_nothing_is_fetched_and_no_script_may_run() -> None:
    page = render(hostile_page())
    assert all(source.startswith("data:image/") for source in re.findall(r'<img src="([^"]*)"', page))
    assert "<link" not in page
    assert "default-src 'none'" in page


def test_a_name_of_300_letters_takes_four_lines_and_is_whole_where_it_is_pointed_at() -> None:
    name, short = "photo_" * 50, "photo_" * 5
    page = render(Page("t", "s", [], sections=[Section("x", header=["image", "true"], rows=[(name, short)], texts=2)]))
    assert f'<td class="name"><div class="long" title="{name}">{name}</div></td><td class="name">{short}</td>' in page
    assert "-webkit-line-clamp: 4" in page


def test_lines_to_copy_keep_their_line_ends() -> None:
    page = render(Page("t", "s", [], sections=[Section("x", codes=["one\ntwo"])]))
    assert "<pre>one\ntwo</pre>" in page


def test_empty_parts_are_not_shown() -> None:
    page = render(Page("t", "s", [], sections=[Section("x", "text")]))
    assert all(element not in page.partition("<body>")[2] for element in ("<ul", "<table", "<pre", "<img", "<figure"))


def test_the_summary_is_markdown_that_names_cannot_change() -> None:
    summary = to_markdown(hostile_page())
    assert summary.startswith("# \\<script\\>")
    assert len([line for line in summary.splitlines() if line.startswith("| ")]) == len(HOSTILE) + 1
    assert "\n* Warning: a\\\\nb" in summary
    assert "[x](" not in summary


# in a browser

LOOK = """<iframe id="page" width="%d" height="800" srcdoc="%s"></iframe><script>
addEventListener("load", () => {
  const page = document.getElementById("page").contentDocument
  const overlong = [...page.querySelectorAll("body *")].filter(element =>
    !element.closest(".wide") && element.getBoundingClientRect().right > %d).map(element => element.outerHTML.slice(0, 80))
  document.title = JSON.stringify({
    title: page.title, text: page.body.innerText, width: page.documentElement.scrollWidth, overlong,
    broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length, pictures: page.images.length,
    fetched: document.getElementById("page").contentWindow.performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")),
  })
})</script>"""
"""A page around the page, whose script may look at what the browser made of it."""


def browse(*words: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def looked_at(content: str, folder: Path, width: int) -> dict:
    """What a browser of so many pixels made of a page."""
    around = folder / f"around_{width}.html"
    around.write_text(LOOK % (width, html.escape(content), width + 1), encoding="utf-8")
    dom = browse("--virtual-time-budget=5000", "--dump-dom", around.as_uri())
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert found, dom[:2000]
    return json.loads(html.unescape(found[1]))


@needs_browser
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_all_of_it_on_a_phone_and_on_a_screen(tmp_path: Path, width: int) -> None:
    seen = looked_at(render(hostile_page()), tmp_path, width)
    assert seen["title"] == HOSTILE[0]
    assert HOSTILE[0] in seen["text"]
    assert "{{ 7 * 7 }}" in seen["text"]
    assert (seen["broken"], seen["fetched"]) == (0, [])
    assert seen["pictures"] == len(HOSTILE)
    assert seen["width"] <= width
    assert seen["overlong"] == []


@needs_browser
def test_it_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render(hostile_page()), encoding="utf-8")
    browse(f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "page.html").as_uri())
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())) <= 12
