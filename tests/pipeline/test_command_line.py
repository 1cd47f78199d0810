"""The command itself, as a person at a terminal sees it, and as a file gets it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from designer_vision.pipeline.command_line import main; main()", "run"]
COMPONENT = """
type: command
name: work
version: 1
inputs:
  before: {type: uri_folder, optional: true}
outputs:
  out: {type: uri_folder}
code: ./code
environment: {image: python}
command: python work.py "${{outputs.out}}" $[["${{inputs.before}}"]]
"""
PIPELINE = """
type: pipeline
settings: {default_compute: serverless}
jobs:
  prepare: {type: command, component: ./work.yaml}
  train: {type: command, component: ./work.yaml, inputs: {before: "${{parent.jobs.prepare.outputs.out}}"}}
"""
EPOCH = "epoch 1/2 | 180.1 images/s | train loss 0.9000 | valid loss 0.8000 | top-1 0.9123 | top-5 0.9923"
WORK = f"""
import pathlib, sys, time
out, *before = sys.argv[1:]
if before:
    print("rank 0: epoch 1/2 iteration 10/10 | 183.3 images/s | loss 0.9123 | error 0.1 | learning rate 0.05 | 0:00:31 left", flush=True)
    print("rank 0: {EPOCH}", flush=True)
    time.sleep(1)
    print("rank 0: kept epoch 1 with top-1 0.9778 in out", flush=True)
pathlib.Path(out, "report.html").write_text("<p>")
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, the second of which says what a training says."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "code").mkdir()
    (folder / "code" / "work.py").write_text(WORK)
    (folder / "work.yaml").write_text(COMPONENT)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return folder / "pipeline.yaml"


def variables(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    return kept | {"TERM": "xterm-256color"} | changed


def seen_at_a_terminal(words: list[str], columns: int, **changed: str) -> str:
    """All that a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables(**changed)) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 2**16):
                written += part
        except OSError:  # how Linux says that nobody is left who could write
            pass
    os.close(ours)
    assert process.returncode == 0, written
    return written.decode()


def test_at_a_terminal_a_bar_with_the_figures_so_far_appears_while_a_step_runs(pipeline: Path) -> None:
    written = seen_at_a_terminal([*COMMAND, str(pipeline), "--output_dir", "out"], 80)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in re.split(r"\x1b\[\d+A", written)]
    lines = [line for frame in frames for line in frame.splitlines() if "train" in line]
    assert any(line.strip() == "train    from prepare" for line in lines)
    (running, *_) = [line for line in lines if "━" in line]
    assert re.fullmatch(r"…  train    ━+╸?━* 0:00:31  \d\.\d s     180\.1  0\.9000  91\.2 %", running.strip())
    assert written.splitlines()[-2:] == [f"report: out/{name}/outputs/out/report.html" for name in ("prepare", "train")]
    assert re.search(r"✓  train    finished  \d\.\d s     180\.1  0\.9000  97\.8 %", frames[-1])


def test_a_file_gets_plain_lines_without_escape_codes_and_so_does_ci_at_a_terminal(pipeline: Path) -> None:
    words = [*COMMAND, str(pipeline), "--output_dir", "out"]
    colored = variables(FORCE_COLOR="1")
    written = subprocess.run(words, capture_output=True, text=True, env=colored, check=True).stdout
    assert "\x1b" not in written
    lines = [re.sub(r"\b\d\.\d s", "T s", line.rstrip()) for line in written.splitlines()]
    metrics, *reports = lines[10:]
    assert lines[1:10] == [
        "steps: prepare, train",
        "prepare: running",
        "prepare: finished after T s",
        "train: running, from prepare",
        f"train: {EPOCH}",
        "train: finished after T s | 180.1 images/s | loss 0.9000 | top-1 0.9778",
        "   step                time  images/s    loss   top-1",
        "✓  prepare  finished  T s",
        "✓  train    finished  T s     180.1  0.9000  97.8 %",
    ]
    assert metrics.startswith("metrics: ")
    assert reports == [f"report: out/{name}/outputs/out/report.html" for name in ("prepare", "train")]

    again = seen_at_a_terminal(words, 80, CI="true", FORCE_COLOR="1")  # what is reused keeps its figures
    assert "\x1b" not in again
    assert re.search(r"^train: reused, took \d\.\d s \| 180\.1 images/s \| loss 0\.9000 \| top-1 0\.9778\r$", again, re.MULTILINE)
    assert re.search(r"^✓  train +reused +\d\.\d s +180\.1  0\.9000  97\.8 %\r$", again, re.MULTILINE)
