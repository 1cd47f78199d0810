"""The pictures of README and docs: a run in a terminal, and the pages that steps leave; by `make pictures`.

    python docs/pictures.py PIPELINE FOLDER     # runs the pipeline there; needs Chromium

What the terminal shows is what the command wrote to it, read by pyte, a terminal in Python.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pyte
from PIL import Image, ImageFilter
from playwright.sync_api import expect, sync_playwright
from sklearn.datasets import load_sample_images

PICTURES = Path(__file__).parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
COMMAND = str(Path(sys.executable).parent / "designer-vision")
COLUMNS, LINES = 100, 18
WIDTH = 980
SHOWN_AT = "epoch 3/"
"""The line of the training's log at which the picture is taken."""
COLORS = {"default": "#d4d4d4", "red": "#f66", "green": "#7ec699", "magenta": "#d670d6", "cyan": "#6cb6c8"}
PAGE = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0; background: #1e1e1e; color: #d4d4d4 }}
pre {{ margin: 16px 20px; font: 15px/1.35 "DejaVu Sans Mono", monospace }}</style><pre>{text}</pre>"""


def frames(words: list[str]) -> Iterator[pyte.Screen]:
    """The screen after each piece that a command writes to a terminal of its own.

    Raises:
        CalledProcessError: it failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    variables["TERM"] = "xterm-256color"
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        with suppress(OSError):  # the other end is closed
            while written := os.read(ours, 65536):
                stream.feed(written)
                yield screen
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def as_html(screen: pyte.Screen) -> str:
    """The screen as lines of coloured text."""
    lines = []
    for number in range(LINES):
        letters = [screen.buffer[number][column] for column in range(COLUMNS)]
        line = ""
        for (color, is_bold), some in groupby(letters, key=lambda letter: (letter.fg, letter.bold)):
            text = html.escape("".join(letter.data for letter in some))
            shade = COLORS.get(color, f"#{color}" if re.fullmatch("[0-9a-f]{6}", color) else COLORS["default"])
            line += f'<span style="color: {shade}">{f"<b>{text}</b>" if is_bold else text}</span>'
        lines.append(line)
    while lines and not re.sub("<[^>]*>", "", lines[-1]).strip():
        lines.pop()
    return PAGE.format(text="\n".join(lines))


def screenshot(page: Path, picture: Path, height: int) -> None:
    """A page as a PNG file."""
    words = [BROWSER, "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{height}"]
    subprocess.run([*words, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)


def only(page: Path, title: str) -> str:
    """A report with one of its sections and nothing else."""
    head, body, rest = page.read_text().partition("<body>")
    sections = re.findall("<section>.*?</section>", rest, re.DOTALL)
    return head + body + next(section for section in sections if f"<h2>{title}</h2>" in section)


def photos_to_clean(folder: Path) -> None:
    """Parts of the two photos that scikit-learn ships, with what can be wrong in a folder of photos."""
    for name, picture in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            left, top = number % 3 * 160, number // 3 * 150
            Image.fromarray(picture[top : top + 260, left : left + 320]).save(folder / name / f"IMG_{1000 + number}.png")
    first, second = (Image.open(folder / "flower" / f"IMG_100{number}.png") for number in (1, 4))
    first.resize((160, 130)).save(folder / "flower" / "from the web.jpg", quality=70)
    second.save(folder / "temple" / "IMG_1004 (1).png")
    second.filter(ImageFilter.GaussianBlur(8)).save(folder / "flower" / "IMG_1006.png")
    Image.eval(first, lambda level: level // 8).save(folder / "flower" / "IMG_1007.png")


def cleaning(folder: Path) -> None:
    """Clean made photos, and write cleaning.png."""
    photos_to_clean(folder / "photos")
    words = ["run", "pipelines/clean.yaml", "--input", f"images={folder / 'photos'}", "--output_dir", str(folder / "run")]
    subprocess.run([COMMAND, *words, "--input", "action=leave_out"], check=True)
    screenshot(folder / "run/clean/outputs/cleaning_report/report.html", PICTURES / "cleaning.png", 1150)


def designer(pipeline: str, folder: Path) -> None:
    """Run the pipeline on the canvas; designer.png while it trains, designer_dark.png with the images that a step wrote."""
    words = [COMMAND, "designer", pipeline, "--no_browser", "--output_dir", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout
        address = process.stdout.readline().split()[-1]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(address)
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Run").click()
        train = page.locator('.react-flow__node[data-id="step:train"]')
        expect(train).to_contain_text("top-1", timeout=600_000)
        train.click()
        page.get_by_role("tab", name="Curves").click()
        expect(page.get_by_role("region", name="numbers by epoch").get_by_role("row")).to_have_count(4, timeout=600_000)
        fit = page.locator(".react-flow__controls-fitview")
        fit.click()
        page.wait_for_timeout(1000)  # it glides there
        page.screenshot(path=PICTURES / "designer.png")
        page.emulate_media(color_scheme="dark")
        page.locator('.react-flow__node[data-id="step:convert"]').click()
        fit.click()
        page.get_by_role("tab", name="Outputs").click()
        page.wait_for_timeout(2000)  # for the thumbnails
        page.screenshot(path=PICTURES / "designer_dark.png")
        page.get_by_role("button", name="Stop").click()
        browser.close()
        process.send_signal(signal.SIGINT)


def main(pipeline: str, folder: Path) -> None:
    """Run the pipeline, and write run, report, heat_maps, cleaning, designer and designer_dark.png beside this file."""
    if not BROWSER:
        sys.exit("make pictures needs Chromium")
    command = [COMMAND, "run", pipeline, "--output_dir", str(folder)]
    logs, shown = folder / "train" / "user_logs", ""
    for screen in frames(command):
        if not shown and any(SHOWN_AT in log.read_text(errors="replace") for log in logs.glob("*.txt")):
            shown = as_html(screen)
    if not shown:
        sys.exit(f"nothing was shown while {folder}/train was at {SHOWN_AT!r}; remove {folder} and run it again")
    with tempfile.TemporaryDirectory() as made:
        page = Path(made, "run.html")
        page.write_text(shown)
        screenshot(page, PICTURES / "run.png", 300)
        page.write_text(only(folder / "evaluate" / "outputs" / "evaluation_results" / "report.html", "Predicted correctly"))
        screenshot(page, PICTURES / "heat_maps.png", 560)
        cleaning(Path(made, "cleaning"))
        designer(pipeline, Path(made, "designer"))
    screenshot(folder / "train" / "outputs" / "trained_model" / "report.html", PICTURES / "report.png", 1250)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute())
