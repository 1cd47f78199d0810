"""The designer and its page for benchmarks/designer.py: the command as a person starts it, in a browser as a person has it."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).parent / "designer-vision")
SIZE = {"width": 1280, "height": 800}
HELPERS = """
// from an event to the frame that shows what the function finds
window.fromTo = (event, wanted, found) => new Promise((done, fail) => {
  let begin
  setTimeout(() => fail(new Error(`nothing in 20 s after ${event}${begin === undefined ? ', which never came' : ''}`)), 20_000)
  const hear = e => { if (begin === undefined && wanted(e)) begin = e.timeStamp }
  const look = () => {
    if (begin === undefined || !found()) return
    observer.disconnect()
    document.removeEventListener(event, hear, true)
    requestAnimationFrame(() => done(performance.now() - begin))
  }
  const observer = new MutationObserver(look)
  document.addEventListener(event, hear, true)
  observer.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true})
})
// when something is first shown, by the clock of the machine
window.shownAt = selector => new Promise((done, fail) => {
  setTimeout(() => fail(new Error(`no ${selector} in 20 s`)), 20_000)
  new MutationObserver((changes, observer) => {
    if (!document.querySelector(selector)) return
    observer.disconnect()
    requestAnimationFrame(() => done(performance.timeOrigin + performance.now()))
  }).observe(document.body, {subtree: true, childList: true, attributes: true})
})
// milliseconds between frames, until they are asked for
window.frames_ = () => {
  const times = []
  let goes = true
  const next = now => { times.push(now); if (goes) requestAnimationFrame(next) }
  requestAnimationFrame(next)
  return () => { goes = false; return times.slice(1).map((time, at) => time - times[at]) }
}
// whether every thumbnail in sight is there
window.allShown = () => {
  const box = document.querySelector('.thumbnails')?.getBoundingClientRect()
  const cells = box ? [...document.querySelectorAll('.thumbnail')].filter(cell => {
    const at = cell.getBoundingClientRect()
    return at.bottom > box.top && at.top < box.bottom
  }) : []
  const pictures = cells.map(cell => cell.querySelector('img'))
  return pictures.length > 0 && pictures.every(picture => picture?.complete && picture.naturalWidth)
}
const headers = {'content-type': 'application/json'}
window.post = (path, body) => fetch(path, {method: 'POST', headers, body: JSON.stringify(body)}).then(answer => answer.json())
// the graphs that the server tells
window.told = {}
new EventSource('/api/stream').addEventListener('graph', event => {
  const {revision, checking} = JSON.parse(event.data)
  window.told.revision = revision
  if (!checking) window.told[revision] ??= performance.now()
})
"""


@dataclass
class Designer:
    """A designer that runs.

    Attributes:
        process: of the server.
        address: that it printed.
        began: when the command was given, by time.monotonic.
    """

    process: subprocess.Popen[str]
    address: str
    began: float

    def memory_mb(self, name: str = "VmRSS") -> float:
        """What the server holds, or with VmHWM has held at most."""
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) / 1024


@contextmanager
def designer(pipeline: Path, output_dir: Path) -> Iterator[Designer]:
    """The command, ended with the block."""
    began = time.monotonic()
    words = [COMMAND, "designer", str(pipeline), "--output_dir", str(output_dir), "--no_browser"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert "http://" in line, line
        yield Designer(process, line.split()[-1], began)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()


@contextmanager
def opened(browser: Browser, served: Designer, checked: bool = True) -> Iterator[Page]:
    """Its page, drawn and settled, with HELPERS; in a browser that has seen none before."""
    with browser.new_context(viewport=SIZE) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(served.address)
        drawn(page)
        page.evaluate(HELPERS)
        settle(page, checked)
        yield page


def until(page: Page, found: str, seconds: float = 60) -> None:
    """Wait until an expression is true; the page's policy allows no wait_for_function.

    Raises:
        RuntimeError: it never is.
    """
    deadline = time.monotonic() + seconds
    while not page.evaluate(f"() => Boolean({found})"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not so after {seconds} s: {found}")
        page.wait_for_timeout(5)


def drawn(page: Page) -> None:
    """Wait for the graph with its edges."""
    until(page, "document.querySelector('.react-flow__node .step') && document.querySelector('.react-flow__edge path')")


def settle(page: Page, checked: bool) -> int:
    """Wait until azure-ai-ml has answered, or where that would take minutes only a moment; gives the revision."""
    until(page, "window.told.revision in window.told" if checked else "'revision' in window.told", 120)
    page.wait_for_timeout(100 if checked else 700)
    return int(page.evaluate("window.told.revision"))


def node(page: Page, step: str) -> Locator:
    """A step on the canvas."""
    return page.locator(f'.react-flow__node[data-id="step:{step}"]')


def port(page: Page, step: str, name: str) -> Locator:
    """A port of it."""
    return page.locator(f'.react-flow__handle[data-nodeid="step:{step}"][data-handleid="{name}"]')


def middle(place: Locator) -> tuple[float, float]:
    """Its middle, in pixels of the window."""
    box = place.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def zoom_to(page: Page, step: str, width: float) -> None:
    """Turn the wheel over a step until it is that wide."""
    for _ in range(40):
        box = node(page, step).bounding_box()
        assert box
        if box["width"] >= width:
            return
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(60)


def pipeline_of(folder: Path, copies: int, only: Sequence[str] = (), **inputs: Any) -> Path:
    """The ten steps of train_and_score.yaml, so many times, as a file in that folder.

    Args:
        folder: where it is written, beside a folder `digits`.
        copies: how often.
        only: the steps that are wanted; all where none is named.
        inputs: other values for the pipeline's inputs.
    """
    written = yaml.safe_load((ROOT / "pipelines" / "train_and_score.yaml").read_text())
    written["inputs"] |= inputs
    written.pop("outputs")
    jobs = {}
    for copy in range(copies):
        for name, job in written["jobs"].items():
            if only and name not in only:
                continue
            text = re.sub(r"parent\.jobs\.(\w+)\.", rf"parent.jobs.\1_{copy}.", json.dumps(job))
            jobs[f"{name}_{copy}"] = json.loads(text.replace('"../component/', f'"{ROOT / "component"}/'))
            jobs[f"{name}_{copy}"].pop("outputs", None)
    file = folder / f"{len(jobs)}_steps.yaml"
    file.write_text(yaml.safe_dump(written | {"jobs": jobs}, sort_keys=False))
    return file


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: was measured.
        target: that it has.
        found: the median, with the spread.
        holds: whether the median keeps to the target.
    """

    what: str
    target: str
    found: str
    holds: bool


def row(what: str, values: Sequence[float], most: float, unit: str, digits: int = 0) -> Row:
    """A line for what shall be small."""
    found = f"{statistics.median(values):,.{digits}f} {unit} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return Row(what, f"<= {most:g} {unit}", found, statistics.median(values) <= most)
