from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import hear_ctrl_c
from rich.console import Console, RenderableType

from designer_vision.pipeline.display import PlainLines, final_table, live_table, open_console, sources
from designer_vision.pipeline.graph import OutputOf, Step
from designer_vision.pipeline.log import Figures
from designer_vision.pipeline.runner import State, States
from designer_vision.pipeline.sweep import Objective, Standing, Trial

EPOCH = "epoch 1/2 | 180.1 images/s | train loss 0.9000 | valid loss 0.8000 | top-1 0.9123 | top-5 0.9923"


def step(name: str, *read: str | Path) -> Step:
    inputs = {str(number): OutputOf(value, "out") if isinstance(value, str) else value for number, value in enumerate(read)}
    return Step(name, "", Path(), inputs, (), 1, 1, "", {})


STEPS = (
    step("convert", Path("/data/digits")),
    step("network"),
    step("validation_images", "convert"),
    step("train", "network", "convert", "validation_images"),
    step("score", "train", "convert"),
)
TRAINING: States = {
    "convert": State("finished", 1.0, Figures(images_per_second=2320.9)),
    "network": State("reused", 3.5),
    "validation_images": State("finished", 3.6, Figures(images_per_second=1030.1)),
    "train": State("running", 40.1, Figures(0.62, 183.3, 0.1234, 0.972, "0:00:31")),
    "score": State(),
}


def rendered(renderable: RenderableType, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, markup=False, emoji=False, file=io.StringIO(), record=True)
    console.print(renderable)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_nothing_of_the_running_step_is_cut_at_any_usual_width(width: int) -> None:
    lines = rendered(live_table(STEPS, TRAINING, width), width)
    assert len(lines) == 1 + len(STEPS)
    assert all(len(line) <= width for line in lines)
    for text in ("train", "━━━━━━", " 0:00:31 ", " 40.1 s ", " 183.3 ", " 0.1234 ", " 97.2 %"):
        assert text in lines[4] + " "
    assert "validation_images" in lines[3]
    assert "…" not in "".join(line[1:] for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_at_the_start_the_table_is_the_graph(width: int) -> None:
    states = {step.name: State() for step in STEPS}
    lines = rendered(live_table(STEPS, states, width), width)
    assert [line.split()[0] for line in lines[1:]] == ["convert", "network", "validation_images", "train", "score"]
    assert lines[1].endswith(" digits")
    assert lines[4].endswith(" network, convert, validation_images")
    assert lines[5].endswith(" train, convert")


def test_on_a_wide_terminal_every_step_says_what_it_reads_to_the_end() -> None:
    lines = rendered(live_table(STEPS, TRAINING, 120), 120)
    assert lines[3].endswith(" convert")
    assert lines[4].endswith(" network, convert, validation_images")


def test_the_bar_is_as_long_as_the_share_that_is_done() -> None:
    def drawn(share: float) -> int:
        console = Console(width=80, force_terminal=True, no_color=True, file=io.StringIO(), record=True)  # only what is done
        console.print(live_table(STEPS, TRAINING | {"train": State("running", 1.0, Figures(share))}, 80))
        return console.export_text().count("━")

    assert drawn(0) == 0
    assert drawn(0.5) == pytest.approx(drawn(1) / 2, abs=1)
    assert drawn(1) > 15


def test_the_last_line_stands_where_there_is_no_bar_yet() -> None:
    lines = rendered(
        live_table(STEPS, TRAINING | {"train": State("running", 1.0, Figures(last_line="[b]hello[/b] :smile:"))}, 80), 80
    )
    assert " [b]hello[/b] :smile: " in lines[4]
    lines = rendered(live_table(STEPS, TRAINING | {"train": State("running", 1.0, Figures(last_line="long " * 99))}, 80), 80)
    assert len(lines) == 1 + len(STEPS)
    assert "…" in lines[4][1:]


def test_the_final_table_has_all_steps_with_their_figures() -> None:
    states = TRAINING | {
        "train": State("finished", 48.8, Figures(1.0, 183.3, 0.1234, 0.972, "0:00:00")),
        "score": State("failed", 7322.0),
    }
    assert [line.split() for line in rendered(final_table(states), 80)] == [
        ["step", "time", "images/s", "loss", "top-1"],
        ["✓", "convert", "finished", "1.0", "s", "2320.9"],
        ["✓", "network", "reused", "3.5", "s"],
        ["✓", "validation_images", "finished", "3.6", "s", "1030.1"],
        ["✓", "train", "finished", "48.8", "s", "183.3", "0.1234", "97.2", "%"],
        ["✗", "score", "failed", "2:02:02"],
    ]
    del states["train"]
    assert "loss" not in rendered(final_table(states), 80)[0]


def test_a_step_reads_steps_and_folders_each_named_once() -> None:
    assert sources(step("s", "one", Path("/data/my photos"), "one", "two")) == "one, my photos, two"
    assert sources(step("s", Path("/data/\x1b[2J"))) == "\\x1b[2J"
    assert sources(Step("s", "", Path(), {"epochs": "5"}, (), 1, 1, "", {})) == ""


def plain(*moments: States) -> list[str]:
    """The lines that a file gets of these states, one after the other."""
    console = Console(width=200, force_terminal=False, markup=False, emoji=False, file=io.StringIO())
    show = PlainLines(console, STEPS)
    for states in moments:
        show(states)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def train(phase: str, seconds: float, figures: Figures | None = None) -> States:
    return {"train": State(phase, seconds, figures or Figures())}


def test_a_file_gets_a_line_when_a_step_starts_for_each_epoch_and_when_it_ends() -> None:
    half = Figures(0.5, 180.1, 0.9, 0.9123, "0:00:09", (EPOCH,))
    second = EPOCH.replace("1/2", "2/2")
    whole = Figures(1.0, 181.0, 0.8, 0.95, "0:00:00", (EPOCH, second), "kept")
    moments = [
        train("waiting", 0),
        train("running", 0),
        train("running", 10, half),
        train("running", 11, half),
        train("finished", 20, whole),
    ]
    assert plain(*moments) == [
        "train: running, from network, convert, validation_images",
        f"train: {EPOCH}",
        f"train: {second}",
        "train: finished after 20.0 s | 181.0 images/s | loss 0.8000 | top-1 0.9500",
    ]


def test_between_them_it_gets_one_line_in_thirty_seconds() -> None:
    moments = [train("running", 0.0)]
    for tenth in range(1, 900):
        epochs = (EPOCH,) if tenth >= 650 else ()
        moments.append(train("running", tenth / 10, Figures(tenth / 1000, 183.3, 0.5, left="0:01:00", epochs=epochs)))
    assert plain(*moments)[1:] == [
        "train: running for 30.0 s | 30 % | 183.3 images/s | loss 0.5000 | 0:01:00 left",
        "train: running for 60.0 s | 60 % | 183.3 images/s | loss 0.5000 | 0:01:00 left",
        f"train: {EPOCH}",
    ]


def test_reused_and_failed_steps_get_a_line_each() -> None:
    states = train("failed", 4.0) | {"convert": State("reused", 1.0, Figures(images_per_second=2320.9))}
    assert plain(states) == ["train: failed after 4.0 s", "convert: reused, took 1.0 s | 2320.9 images/s"]


@pytest.mark.parametrize(("terminal", "ci", "live"), [(True, "", True), (True, "true", False), (False, "", False)])
def test_only_a_person_at_a_terminal_gets_escape_codes(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, ci: str, live: bool
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    out.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", out)
    console = open_console()
    console.print("[b]…[/b] :smile:", style="bold")
    assert console.is_interactive is live
    out.flush()
    text = out.buffer.getvalue()  # type: ignore[attr-defined]
    assert (b"\x1b" in text) is live
    assert rb"[b]\u2026[/b] :smile:" in text


# The command itself, as a person at a terminal sees it, and as a file gets it

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
WORK = f"""
import pathlib, sys, time
out, *before = sys.argv[1:]
if before:
    print("rank 0: epoch 1/2 iteration 10/10 | 183.3 images/s | loss 0.9123 | error 0.1 | learning rate 0.05 | 0:00:31 left", flush=True)
    print("rank 0: {EPOCH}", flush=True)
    time.sleep(1)
    print("rank 0: kept epoch 1/2 | valid loss 0.1234 | top-1 0.9778 | top-5 1.0000 | 0:00:09 | out", flush=True)
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


def seen_at_a_terminal(
    words: list[str], columns: int, interrupt_at: Sequence[Path] = (), exit_code: int = 0, **changed: str
) -> str:
    """All that a command writes to a terminal of its own, interrupted whenever the next of some files appears."""
    files = list(interrupt_at)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables(**changed), preexec_fn=hear_ctrl_c
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while True:
                if files and files[0].exists():
                    files.pop(0)
                    process.send_signal(signal.SIGINT)
                if select.select([ours], [], [], 0.05)[0]:
                    written += os.read(ours, 2**16)
        except OSError:  # how Linux says that nobody is left who could write
            pass
    os.close(ours)
    assert process.returncode == exit_code, written
    return written.decode()


def test_at_a_terminal_a_bar_with_the_figures_so_far_appears_while_a_step_runs(pipeline: Path) -> None:
    written = seen_at_a_terminal([*COMMAND, str(pipeline), "--output_dir", "out"], 80)
    frames = frames_of(written)
    lines = [line for frame in frames for line in frame.splitlines() if "train" in line]
    assert any(line.strip() == "train    from prepare" for line in lines)
    (running, *_) = [line for line in lines if "━" in line]
    assert re.fullmatch(r"…  train    ━+╸?━* 0:00:31  \d\.\d s     180\.1  0\.9000  91\.2 %", running.strip())
    assert written.splitlines()[-2:] == [f"report: out/{name}/outputs/out/report.html" for name in ("prepare", "train")]
    assert re.search(r"✓  train    finished  \d\.\d s     180\.1  0\.9000  97\.8 %", frames[-1])


def frames_of(written: str) -> list[str]:
    """What stood on the terminal each time that the table was drawn, without colours."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in re.split(r"\x1b\[\d+A", written)]


STUBBORN = """
import pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1])
def save(number, frame):
    (out / "asked").touch()
    time.sleep(3)
    (out / "saved").touch()
    sys.exit()
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, save)
    print("warning: few images", flush=True)
    (out / "begun").touch()
    time.sleep(60)
(out / "file").touch()
"""


@pytest.mark.parametrize(("files", "is_saved"), [(["begun"], True), (["begun", "asked"], False)])
def test_ctrl_c_leaves_the_table_and_a_second_one_ends_at_once(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], is_saved: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pipeline.parent, tmp_path / "p")
    (tmp_path / "p" / "code" / "work.py").write_text(STUBBORN)
    out = tmp_path / "out" / "train" / "outputs" / "out"
    words = [*COMMAND, "p/pipeline.yaml", "--output_dir", "out"]
    last = frames_of(seen_at_a_terminal(words, 80, [out / name for name in files], 130))[-1]
    assert re.search(r"^✓  prepare +finished", last, re.MULTILINE)
    assert re.search(r"^–  train +stopped +\d", last, re.MULTILINE)
    assert last.count("prepare") == 1
    *_, warning, stopped = last.splitlines()
    assert "Traceback" not in last, last
    assert warning == "train: warning: few images"
    assert re.fullmatch(r"stopped; to resume: .*designer-vision run p/pipeline.yaml --output_dir out", stopped)
    assert (out / "saved").exists() is is_saved


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


def test_a_sweeps_row_says_how_many_trials_have_ended_and_how_good_the_best_is() -> None:
    ended = Trial(1, {}, "finished", (0.5, 0.9)), Trial(2, {}, "failed"), Trial(3, {}, "running", (0.95,))
    standing = Standing(Objective("top-1", maximize=True), 4, ended)
    running = State("running", 1.0, Figures(share=0.5), standing)
    (line,) = [line for line in rendered(live_table(STEPS, TRAINING | {"train": running}, 80), 80) if "train " in line]
    assert "2/4 trials, best 0.9" in line
