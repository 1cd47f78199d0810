"""The run of the open pipeline: a process of its own, which goes on without the page and without its server.

FOLDER/events.jsonl   what it tells
FOLDER/run.log        what it says to people
FOLDER/run/           its output folder, where finished steps are found again
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from designer_vision.pipeline.run_folder import process_of_run
from designer_vision.pipeline.sweep_page import PAGE
from designer_vision.runtime.errors import PipelineError

EVENTS, LOG, OUTPUTS = "events.jsonl", "run.log", "run"
MOST_BYTES = 2**22
"""Of events that are read at a time."""
MOST_LINES = 10_000
"""Epochs or trials of a step, and steps of a run."""
MOST_REMARKS, MOST_REPORTS, LONGEST = 200, 1000, 10_000
"""Remarks, or warnings of a step; pages; and letters of a text."""
MOST_LAST_BYTES = 2**14
"""Of what a run said to people, to find its last line in."""
SECONDS_TO_END = 20
"""That a run may take from its last event to its exit."""
NONE, STARTING, RUNNING, FINISHED, FAILED, STOPPED = "none", "starting", "running", "finished", "failed", "stopped"
OF_AN_EPOCH = ("epoch", "train_loss", "valid_loss", "top1")
OF_A_TRIAL = ("phase", "values", "value", "reported", "seconds", "why")


class _Begun(msgspec.Struct, tag_field="event", tag="run"):
    """An event as `pipeline.events` writes it, as the others are; a field more is passed over, and a line that lacks one too."""

    steps: list[str]


class _Remark(msgspec.Struct, tag_field="event", tag="remark"):
    text: str


class _OfAStep(msgspec.Struct, tag_field="event", tag="step"):
    step: str
    phase: str
    seconds: float
    share: float | None
    images_per_second: float | None
    loss: float | None
    top1: float | None
    left: str
    last_line: str
    warnings: list[str]


class _OfAnEpoch(msgspec.Struct, tag_field="event", tag="epoch"):
    step: str
    epoch: int
    train_loss: float
    valid_loss: float
    top1: float


class _OfATrial(msgspec.Struct, tag_field="event", tag="trial"):
    step: str
    trial: int
    phase: str
    values: dict[str, str]
    metric: str
    value: float | None
    reported: int
    seconds: float
    why: str
    best: int | None


class _End(msgspec.Struct, tag_field="event", tag="end"):
    phase: str
    error: str | None
    result: str | None
    reports: list[str]


_Event = _Begun | _Remark | _OfAStep | _OfAnEpoch | _OfATrial | _End


class LocalRun:
    """Starts, follows and stops runs of one pipeline in one folder.

    Attributes:
        state: what the page is told of it.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder = file, folder.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._place, self._inode = 0, -1
        self.state: dict[str, Any] = self._nothing()
        self.poll()

    @property
    def outputs(self) -> Path:
        """The output folder of the run."""
        return self.folder / OUTPUTS

    @property
    def phases(self) -> list[str]:
        """Where the run and its steps stand."""
        return [self.state["phase"], *(step["phase"] for step in self.state["steps"].values())]

    @property
    def words(self) -> list[str]:
        """The command that a person would type."""
        program = str(Path(sys.executable).parent / "designer-vision")
        return [program, "run", str(self.file), "--output_dir", str(self.outputs), "--events", str(self.folder / EVENTS)]

    @property
    def is_alive(self) -> bool:
        """Whether a run goes on."""
        return bool(self._runner())

    def start(self) -> None:
        """Run the file, as a process that outlives this one.

        Raises:
            PipelineError: a run goes on already.
        """
        if self.is_alive:
            raise PipelineError("the pipeline runs already; stop it first")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / EVENTS).unlink(missing_ok=True)
        with (self.folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._place, self._inode = 0, -1  # a file system may give the new file the old one's number
        self.state = self._nothing() | {"phase": STARTING}

    def wait_for_end(self) -> None:
        """Wait for the process of a run that has told its end: it still closes its books, and holds its folder meanwhile."""
        if self._process is not None and self.state["phase"] in (FINISHED, FAILED, STOPPED):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_END)

    def stop(self) -> None:
        """Ask the run to end, as Ctrl-C does."""
        if runner := self._runner():
            os.kill(runner, signal.SIGINT)

    def poll(self) -> bool:
        """Take in what the run has told since the last time.

        Returns:
            Whether something is new.
        """
        before = self.state["phase"]
        events = list(self._added())
        for event in events:
            self._take(event)
        if not events and self.state["phase"] in (STARTING, RUNNING) and not self.is_alive:
            self.state |= {"phase": FAILED, "error": self._last_words()}
            self._stop_what_ran()
        return bool(events) or self.state["phase"] != before

    def _nothing(self) -> dict[str, Any]:
        command = shlex.join(self.words)
        return {"phase": NONE, "command": command, "error": None, "result": None, "remarks": [], "steps": {}, "reports": []}

    def _runner(self) -> int:
        """The process of the run that goes on, whoever started it; 0 where there is none."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        return process_of_run(self.outputs)

    def _last_words(self) -> str:
        """Why a run ended without an event: what it said last, where it never began."""
        if self.state["phase"] == RUNNING:
            return "the run was ended from outside, perhaps for want of memory; run it again to go on"
        lines = _end_of(self.folder / LOG).splitlines()
        return "the run was ended: " + (next((line for line in reversed(lines) if line.strip()), "") or "it left no word")

    def _added(self) -> Iterator[_Event]:
        """Events that were written since; all of them where a new run began the file anew."""
        try:
            if not (self.folder / EVENTS).is_file():  # a pipe would have us wait, and a device may have no end
                return
            with (self.folder / EVENTS).open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._place:
                    self._place, self._inode = 0, status.st_ino
                file.seek(self._place)
                content = file.read(MOST_BYTES)
        except OSError:  # there was no run yet, or somebody else's file is in the way: the run itself will say so
            return
        whole, newline, _ = content.rpartition(b"\n")
        if not newline and len(content) == MOST_BYTES:  # no event of ours is as long: what follows of it is none either
            whole = content
        self._place += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                yield msgspec.json.decode(line, type=_Event)
            except (msgspec.DecodeError, RecursionError):  # half a line, of a disk that was full; another version's; or not by us
                continue

    def _take(self, event: _Event) -> None:
        state = self.state
        match event:
            case _Begun():
                self.state = self._nothing() | {
                    "phase": RUNNING,
                    "steps": {name: _waiting() for name in event.steps[:MOST_LINES]},
                }
            case _Remark():
                if len(state["remarks"]) < MOST_REMARKS:
                    state["remarks"].append(event.text[:LONGEST])
            case _End():
                state |= {"phase": event.phase, "error": event.error and event.error[:LONGEST]}
                state |= {"result": event.result and event.result[:LONGEST]}
                self._stop_what_ran()  # what was interrupted between its first word and its process has no last one
                state["reports"] = [place for page in event.reports[:MOST_REPORTS] if (place := _place_of(Path(page)))]
            case _ if step := self._step(event.step):
                _take_of_step(step, event)

    def _stop_what_ran(self) -> None:
        """Of a run that has ended no step and no trial runs, whatever it told last of them."""
        for step in self.state["steps"].values():
            for ended in (step, *(step["sweep"] or {"trials": {}})["trials"].values()):
                if ended["phase"] == RUNNING:
                    ended["phase"] = STOPPED

    def _step(self, name: str) -> dict[str, Any] | None:
        """What is known of a step; None of one too many."""
        steps: dict[str, dict[str, Any]] = self.state["steps"]
        return steps.setdefault(name, _waiting()) if name in steps or len(steps) < MOST_LINES else None


def _take_of_step(step: dict[str, Any], event: _OfAStep | _OfAnEpoch | _OfATrial) -> None:
    match event:
        case _OfAStep():
            told = msgspec.structs.asdict(event)
            del told["step"]
            texts = [text[:LONGEST] for text in event.warnings[:MOST_REMARKS]]
            step.update(told | {"last_line": event.last_line[:LONGEST], "warnings": texts})
        case _OfAnEpoch():
            if len(step["epochs"]) < MOST_LINES:
                step["epochs"].append({name: getattr(event, name) for name in OF_AN_EPOCH})
        case _OfATrial():
            trials = (step["sweep"] or {"trials": {}})["trials"]
            if str(event.trial) in trials or len(trials) < MOST_LINES:
                trials[str(event.trial)] = {name: getattr(event, name) for name in OF_A_TRIAL} | {"why": event.why[:LONGEST]}
            step["sweep"] = {"trials": trials, "metric": event.metric, "best": event.best}


def _waiting() -> dict[str, Any]:
    nothing = {"share": None, "images_per_second": None, "loss": None, "top1": None, "left": "", "last_line": ""}
    return {"phase": "waiting", "seconds": 0.0, **nothing, "warnings": [], "epochs": [], "sweep": None}


def _end_of(file: Path) -> str:
    """The last that a text file says; nothing where there is none."""
    if not file.is_file():
        return ""
    try:
        with file.open("rb") as opened:
            opened.seek(max(opened.seek(0, os.SEEK_END) - MOST_LAST_BYTES, 0))
            return opened.read(MOST_LAST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _place_of(page: Path) -> dict[str, str] | None:
    """Step and port of `.../STEP/outputs/PORT/report.html`; no port of a sweep's `.../STEP/sweep.html`; None of any other."""
    if page.name == PAGE:
        return {"step": page.parent.name, "port": ""}
    return {"step": page.parents[2].name, "port": page.parent.name} if len(page.parents) > 2 else None
