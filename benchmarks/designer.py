"""How soon the designer answers, in a real browser: what a person waits for, beside what was aimed at.

    python benchmarks/designer.py FOLDER [PART ...]      # all parts in about twelve minutes; needs Chromium

What is made for it stays in FOLDER. Prints Markdown.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from designer_page import (
    COMMAND,
    ROOT,
    SIZE,
    Designer,
    Row,
    designer,
    drawn,
    middle,
    node,
    opened,
    pipeline_of,
    port,
    row,
    settle,
    until,
    zoom_to,
)
from measure import hardware, say
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
STARTS, EDITS, EVENTS, PAIRS, EPOCHS = 5, 10, 40, 4, 15
STEPS = {10: 1, 200: 20}
"""Steps, and how many copies of the ten make them."""
IMAGES, CLASSES, SIDE = 50_000, 10, 64
TRAINED = 40
"""Digits of each class that are trained on beside the page."""
KILO = 1000


def start(browser: Browser, folder: Path) -> Iterator[Row]:
    """From the command to a drawn graph, and what travels until nothing comes any more."""
    seconds, sent = [], []
    file = folder / "train_and_score.yaml"
    file.write_text((ROOT / "pipelines" / file.name).read_text().replace("../component", str(ROOT / "component")))
    for number in range(STARTS + 1):
        with designer(file, folder / "nothing") as served, browser.new_context(viewport=SIZE) as context:  # type: ignore[arg-type]
            page, sizes = context.new_page(), [0.0]
            watching = context.new_cdp_session(page)
            watching.send("Network.enable")
            watching.on("Network.dataReceived", lambda part: sizes.append(part["encodedDataLength"]))  # noqa: B023
            page.goto(served.address)
            drawn(page)
            if number:  # the first one warms the disk
                seconds.append(time.monotonic() - served.began)
            page.locator(".entry").first.wait_for()
            page.wait_for_timeout(1000)
            sent.append(sum(sizes) / KILO)
    yield row("from the command to a drawn graph, `train_and_score.yaml`", seconds, 3, "s", 2)
    yield row("what travels at first, compressed", sent, 600, "KB")


def edits(browser: Browser, folder: Path) -> Iterator[Row]:
    """From a drop, an edge or a typed value to what is wrong at the port; and until azure-ai-ml has answered."""
    for steps, copies in STEPS.items():
        file = pipeline_of(folder, copies, images={"type": "uri_folder", "path": "digits"})
        checked = steps == min(STEPS)
        with designer(file, folder / "nothing") as served, opened(browser, served, checked) as page:
            in_sight = page.locator('.react-flow__node[data-id^="step:hold_out_"]')
            copy = (in_sight.nth(in_sight.count() // 2).get_attribute("data-id") or "").rpartition("_")[2]
            zoom_to(page, f"hold_out_{copy}", 90)
            figures: dict[str, list[float]] = {"drop": [], "edge": [], "typing": [], "enter": [], "azure": []}
            for _ in range(EDITS + 1):
                _drop(page, checked, figures["drop"])
                _draw_edge(page, copy, checked, figures["edge"])
            for _ in range(EDITS + 1):
                _type(page, f"hold_out_{copy}", checked, figures)
        sets = {name: values[1:] for name, values in figures.items()}
        yield row(f"a dropped component to what it lacks, {steps} steps", sets["drop"], 100, "ms")
        yield row(f"an edge to its port without a fault, {steps} steps", sets["edge"], 100, "ms")
        yield row(f"a typed letter to what is wrong in the pane, {steps} steps", sets["typing"], 100, "ms")
        yield row(f"Enter to what is wrong on the canvas, {steps} steps", sets["enter"], 100, "ms")
        if checked:
            yield row(f"the same until azure-ai-ml has answered, {steps} steps", sets["azure"], 1500, "ms")


def _take_back(page: Page, checked: bool) -> None:
    page.evaluate("post('/api/undo', {})")
    settle(page, checked)


def _drop(page: Page, checked: bool, figures: list[float]) -> None:
    before = page.locator(".has-problem").count()
    entry, canvas = page.locator(".entry", has_text="Score Image Model").first, page.locator(".react-flow__pane")
    found = f"() => document.querySelectorAll('.has-problem').length > {before}"
    page.evaluate(f"void (window.waited = fromTo('drop', () => true, {found}))")
    entry.drag_to(canvas, target_position={"x": 60, "y": 60})
    figures.append(page.evaluate("window.waited"))
    page.wait_for_timeout(400)  # its place is sent
    _take_back(page, checked)


def _draw_edge(page: Page, copy: str, checked: bool, figures: list[float]) -> None:
    name, own = f"hold_out_{copy}", "input_image_directory"
    edit = {"do": "disconnect", "step": name, "port": own}
    page.evaluate("edit => post('/api/edit', {revision: window.told.revision, edits: [edit]})", edit)
    target, source = port(page, name, own), port(page, f"convert_{copy}", "output_image_directory")
    page.locator(f'.has-problem[data-nodeid="step:{name}"]').wait_for()
    settle(page, checked)
    found = f"""() => !document.querySelector('.has-problem[data-nodeid="step:{name}"]')"""
    page.evaluate(f"void (window.waited = fromTo('mouseup', () => true, {found}))")
    page.mouse.move(*middle(source))
    page.mouse.down()
    page.mouse.move(*middle(target), steps=5)
    page.mouse.up()
    figures.append(page.evaluate("window.waited"))
    settle(page, checked)


def _type(page: Page, step: str, checked: bool, figures: dict[str, list[float]]) -> None:
    """A value out of its range, sent by Enter."""
    node(page, step).click()
    page.locator(".pane input[type=text]").and_(page.get_by_label("fraction")).select_text()
    revision = settle(page, checked)
    marked = f"""() => document.querySelector('[data-id="step:{step}"] .marks .fault')"""
    page.evaluate(f"""() => {{
      window.typed = fromTo('input', () => true, () => document.querySelector('.pane .fault-text'))
      window.marked = fromTo('keydown', event => event.key === 'Enter', {marked})
      document.addEventListener('keydown', event => {{ window.began = event.timeStamp }}, {{capture: true, once: true}})
    }}""")
    page.keyboard.insert_text("-5")
    page.keyboard.press("Enter")
    figures["typing"].append(page.evaluate("window.typed"))
    figures["enter"].append(page.evaluate("window.marked"))
    if checked:
        until(page, f"{revision + 1} in window.told")
        figures["azure"].append(page.evaluate(f"window.told[{revision + 1}] - window.began"))
    _take_back(page, checked)


def states(browser: Browser, folder: Path) -> Iterator[Row]:
    """From a step's state in events.jsonl to the canvas."""
    file, out = pipeline_of(folder, 1, images={"type": "uri_folder", "path": "digits"}), folder / "told"
    (out / "run").mkdir(parents=True, exist_ok=True)
    (out / "run" / "run.lock").write_text(str(os.getpid()))  # the run is this program
    told = {"event": "step", "step": "convert_0", "seconds": 1.0, "share": 0.5, "images_per_second": 9.0, "loss": None}
    told |= {"top1": None, "left": "", "last_line": "", "warnings": []}
    found, draw = [], np.random.default_rng(1)
    with (out / "events.jsonl").open("w") as events, designer(file, out) as served, opened(browser, served) as page:

        def tell(event: dict[str, Any]) -> float:
            events.write(json.dumps(event) + "\n")
            events.flush()
            return time.time() * KILO

        tell({"event": "run", "pipeline": "", "folder": "", "process": 0, "steps": ["convert_0"]})
        for number in range(EVENTS):
            phase = ("running", "finished")[number % 2]
            page.wait_for_timeout(300 + 200 * draw.random())
            page.evaluate(f"""void (window.shown = shownAt('[data-id="step:convert_0"] .phase-{phase}'))""")
            written = tell(told | {"phase": phase})
            found.append(page.evaluate("window.shown") - written)
        tell({"event": "end", "phase": "finished", "error": None, "result": None, "reports": []})
    yield row("a step's new state, from the file to the canvas", found, 300, "ms")


def moves(browser: Browser, folder: Path) -> Iterator[Row]:
    """Frames while the canvas with 200 steps is moved and zoomed, all in sight and near."""
    file = pipeline_of(folder, STEPS[200], images={"type": "uri_folder", "path": "digits"})
    with designer(file, folder / "nothing") as served, opened(browser, served, checked=False) as page:
        for name, width in (("all in sight", 0), ("near", 200)):
            zoom_to(page, "hold_out_9", width)
            yield _frames_of(f"moving 200 steps, {name}", page, lambda: _pan(page))
            yield _frames_of(f"zooming 200 steps, {name}", page, lambda: _zoom(page))


def _pan(page: Page) -> None:
    page.mouse.move(230, 700)
    page.mouse.down()
    for turn in range(4):
        page.mouse.move(*((900, 100) if turn % 2 == 0 else (230, 700)), steps=30)
    page.mouse.up()


def _zoom(page: Page) -> None:
    page.mouse.move(580, 400)
    for turn in range(4):
        for _ in range(15):
            page.mouse.wheel(0, -40 if turn % 2 == 0 else 40)
            page.wait_for_timeout(15)


def _frames_of(what: str, page: Page, act: Callable[[], None]) -> Row:
    page.evaluate("void (window.stop_ = window.frames_())")
    act()
    times = page.evaluate("window.stop_()")
    rate, slow = KILO * len(times) / sum(times), float(np.percentile(times, 95))
    usual, worst = statistics.median(times), max(times)
    found = f"{rate:.0f} a second (a frame {usual:.0f} ms, 19 of 20 within {slow:.0f} ms, the longest {worst:.0f} ms)"
    return Row(what, ">= 30 frames a second", found, rate >= 30)


def thumbnails(browser: Browser, folder: Path) -> Iterator[Row]:
    """50,000 images as a grid: the first screen, scrolling, a jump to the middle, and the server's memory."""
    file = pipeline_of(folder, 1, images={"type": "uri_folder", "path": "digits"})
    _write_images(folder / "many" / "run" / "convert_0" / "outputs" / "output_image_directory")
    firsts, jumps, frames, memory = [], [], [], []
    for _ in range(3):
        with designer(file, folder / "many") as served, opened(browser, served) as page:
            before = served.memory_mb()
            node(page, "convert_0").click()
            begin = time.monotonic()
            page.get_by_role("tab", name="Outputs").click()
            _all_shown(page)
            firsts.append(time.monotonic() - begin)
            frames.append(_scroll(page))
            for part in (0.5, 0.9, 0.2):
                begin = time.monotonic()
                page.evaluate(
                    "part => { const box = document.querySelector('.thumbnails'); box.scrollTop = part * box.scrollHeight }", part
                )
                page.wait_for_timeout(20)
                _all_shown(page)
                jumps.append(time.monotonic() - begin)
            memory.append((before, served.memory_mb("VmHWM")))
    yield row(f"{IMAGES:,} images, from the click to the first screen", firsts, 1, "s", 2)
    yield row(f"{IMAGES:,} images, from a jump to all pictures", jumps, 1, "s", 2)
    every = [time_ for times in frames for time_ in times]
    rate = KILO * len(every) / sum(every)
    yield Row(
        f"{IMAGES:,} images, scrolling",
        "never stalls (no frame over 250 ms)",
        f"{rate:.0f} frames a second, {max(every):.0f} ms the longest",
        max(every) <= 250,
    )
    before, most = (statistics.median(column) for column in zip(*memory, strict=True))
    yield Row(
        f"{IMAGES:,} images, the server's memory",
        "bounded (100 MB more)",
        f"{before:.0f} MB before, {most:.0f} MB at most",
        most - before <= 100,
    )


def _write_images(folder: Path) -> None:
    from designer_vision.formats.image_directory import ImageDirectoryWriter
    from designer_vision.formats.image_index import ImageInfo
    from designer_vision.formats.image_index import Row as ImageRow

    if folder.exists():
        return
    say(f"writing {IMAGES:,} images")
    draw, names = np.random.default_rng(1), [f"class {number}" for number in range(CLASSES)]
    contents = []
    for _ in range(1000):
        buffer = io.BytesIO()
        small = draw.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    with ImageDirectoryWriter(folder, names) as writer:
        for number in range(IMAGES):
            info = ImageInfo(file_name=f"photo {number}.jpg", width=SIDE, height=SIDE)
            writer.add(contents[number % len(contents)], ".jpg", ImageRow(info, names[number % CLASSES], number))


def _all_shown(page: Page) -> None:
    """Wait until every picture in sight is there."""
    until(page, "window.allShown()")


def _scroll(page: Page) -> list[float]:
    page.locator(".thumbnails").hover()
    page.evaluate("void (window.stop_ = window.frames_())")
    for _ in range(120):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(16)
    times: list[float] = page.evaluate("window.stop_()")
    return times


def beside(browser: Browser, folder: Path) -> Iterator[Row]:
    """How fast a training is with the page open beside it, and without: in pairs."""
    only = ("convert", "hold_out", "split", "transformation", "training_images", "validation_images", "network", "train")
    for file in folder.glob("digits/*/*.png") if not (folder / "few").exists() else ():
        (folder / "few" / file.parent.name).mkdir(parents=True, exist_ok=True)
        if len(list((folder / "few" / file.parent.name).iterdir())) < TRAINED:
            shutil.copy(file, folder / "few" / file.parent.name)
    shares = []
    for pair in range(PAIRS + 1):
        rates = {}
        for is_open in (True, False) if pair % 2 else (False, True):
            inputs = {"epochs": EPOCHS if pair else 1, "image_size": 32, "random_seed": 2 * pair + is_open + 1}
            file = pipeline_of(folder, 1, only, images={"type": "uri_folder", "path": "few"}, **inputs)
            with designer(file, folder / "beside") if is_open and pair else nullcontext() as served:
                rates[is_open] = _train(file, folder / "beside", browser, served)
        if pair:  # the first makes what the others go on from
            shares.append(rates[True] / rates[False])
            say(f"  with the page {rates[True]:.1f} epochs a minute, without {rates[False]:.1f}")
    found = f"{statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}; {PAIRS} pairs)"
    yield Row("images/s of a training beside the page, to those without", ">= 0.98", found, statistics.median(shares) >= 0.98)


def _train(file: Path, out: Path, browser: Browser, served: Designer | None) -> float:
    """Epochs a minute, from the end of the first to that of the last; to be looked at in the page while it runs."""
    out.mkdir(exist_ok=True)
    events = out / "events.jsonl"
    events.write_text("")
    words = [COMMAND, "run", str(file), "--output_dir", str(out / "run"), "--events", str(events)]
    with opened(browser, served) if served else nullcontext() as page:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        if page:
            node(page, "train_0").click()
            page.get_by_role("tab", name="Log").click()
        times: list[float] = []
        while process.poll() is None:
            for _ in range(events.read_text().count('"event": "epoch"') - len(times)):
                times.append(time.monotonic())
            time.sleep(0.05)  # also beside the page: to ask the browser would take some of what is measured
        assert process.returncode == 0, words
    return 60 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0


PARTS: dict[str, Callable[[Browser, Path], Iterator[Row]]] = {
    function.__name__: function for function in (start, edits, states, moves, thumbnails, beside)
}


def main(folder: Path, parts: list[str]) -> None:
    """Measure these parts, and print the page."""
    if not CHROMIUM:
        sys.exit("make bench-designer needs Chromium")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, ROOT / "pipelines" / "digits.py", folder / "digits"], check=True)
    before = os.getloadavg()[1]
    print("# How soon the designer answers\n")
    print("| | target | measured | |\n|---|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for part in parts or PARTS:
            say(part)
            for line in PARTS[part](browser, folder):
                print(f"| {line.what} | {line.target} | {line.found} | {'' if line.holds else 'missed'} |", flush=True)
        version = browser.version
        browser.close()
    print(
        f"\nMedians of {STARTS} starts, {EDITS} edits, {EVENTS} states and 3 looks, with minimum and maximum;"
        " times end with the frame that shows it."
        f" The window has {SIZE['width']} x {SIZE['height']} pixels and is drawn without a GPU, by the same cores.\n"
    )
    print("* Command: `python benchmarks/designer.py FOLDER`")
    print(hardware(("starlette", "uvicorn", "playwright", "azure-ai-ml", "torch"), "; a shared machine"), end="")
    after = os.getloadavg()[1]
    print(f"* Browser: Chromium {version}, headless. Load of the machine before and after: {before:.1f} and {after:.1f}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
