"""The run of the open pipeline: a process of its own, which goes on without the page and without its server.

FOLDER/events.jsonl   what it tells
FOLDER/run.log        what it says to people
FOLDER/run/           its output folder, where finished steps are found again
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from designer_vision.pipeline.run_folder import process_of_run
from designer_vision.pipeline.sweep_page import PAGE
from designer_vision.runtime.errors import PipelineError

EVENTS, LOG, OUTPUTS = "events.jsonl", "run.log", "run"
MOST_BYTES = 2**22
"""Of events that are read at a time."""
MOST_LINES = 10_000
"""Epochs or trials of a step."""
SECONDS_TO_END = 20
"""That a run may take from its last event to its exit."""
NONE, STARTING, RUNNING, FINISHED, FAILED, STOPPED = "none", "starting", "running", "finished", "failed", "stopped"
FIGURES = ("phase", "seconds", "share", "images_per_second", "loss", "top1", "left", "last_line", "warnings")
OF_AN_EPOCH = ("epoch", "train_loss", "valid_loss", "top1")
OF_A_TRIAL = ("phase", "values", "value", "reported", "seconds", "why")


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
            with suppress(KeyError, TypeError, AttributeError):  # of another version, or not by us
                self._take(event)
        if not events and self.state["phase"] in (STARTING, RUNNING) and not self.is_alive:
            self.state |= {"phase": FAILED, "error": self._last_words()}
            self._end_steps()
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
        try:
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "the run was ended: " + (next((line for line in reversed(lines) if line.strip()), "") or "it left no word")

    def _added(self) -> Iterator[dict[str, Any]]:
        """Events that were written since; all of them where a new run began the file anew."""
        try:
            with (self.folder / EVENTS).open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._place:
                    self._place, self._inode = 0, status.st_ino
                file.seek(self._place)
                content = file.read(MOST_BYTES)
        except OSError:  # there was no run yet, or somebody else's file is in the way: the run itself will say so
            return
        whole, newline, _ = content.rpartition(b"\n")
        self._place += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # half a line, of a disk that was full
                continue
            if isinstance(event, dict):
                yield event

    def _take(self, event: dict[str, Any]) -> None:
        state = self.state
        match event.get("event"):
            case "run":
                self.state = self._nothing() | {"phase": RUNNING, "steps": {name: _waiting() for name in event["steps"]}}
            case "remark":
                state["remarks"].append(event["text"])
            case "step":
                self._step(event).update({name: event[name] for name in FIGURES})
            case "epoch":
                epochs = self._step(event)["epochs"]
                if len(epochs) < MOST_LINES:
                    epochs.append({name: event[name] for name in OF_AN_EPOCH})
            case "trial":
                sweep = self._step(event)["sweep"] or {"trials": {}}
                if len(sweep["trials"]) < MOST_LINES:
                    sweep["trials"][str(int(event["trial"]))] = {name: event[name] for name in OF_A_TRIAL}
                self._step(event)["sweep"] = sweep | {"metric": event["metric"], "best": event["best"]}
            case "end":
                state |= {"phase": event["phase"], "error": event["error"], "result": event["result"]}
                self._end_steps()
                state["reports"] = list(map(_place_of, map(Path, event["reports"])))

    def _end_steps(self) -> None:
        """No step outlives its run; one that was interrupted as it began has not told its end."""
        for step in self.state["steps"].values():
            if step["phase"] == RUNNING:
                step["phase"] = STOPPED

    def _step(self, event: dict[str, Any]) -> dict[str, Any]:
        """What is known of an event's step."""
        found: dict[str, Any] = self.state["steps"].setdefault(event["step"], _waiting())
        return found


def _waiting() -> dict[str, Any]:
    nothing = {"share": None, "images_per_second": None, "loss": None, "top1": None, "left": "", "last_line": ""}
    return {"phase": "waiting", "seconds": 0.0, **nothing, "warnings": [], "epochs": [], "sweep": None}


def _place_of(page: Path) -> dict[str, str]:
    """Step and port of `.../STEP/outputs/PORT/report.html`; no port of a sweep's `.../STEP/sweep.html`."""
    if page.name == PAGE:
        return {"step": page.parent.name, "port": ""}
    return {"step": page.parents[2].name, "port": page.parent.name}
