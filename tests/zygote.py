"""Imports once what many tests start, and forks a process for each that is asked for: torch, MLflow and azure-ai-ml take seconds each.

    python zygote.py

One JSON object a line: {"words": [...], "env": {...}, "folder": path, "out": path, "err": path} is answered by the new process's
number, {"poll": number} by its exit code (-n after signal n), or null while it runs. The first word is a component's name, a tiny
faulty one of its kind (tests/faults/tiny.py) with "faulty" before it, or `designer-vision`.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from processes import SOURCES

import designer_vision.pipeline.command_line
from designer_vision.pipeline import experiment, processes
from designer_vision.runtime.tracking import import_mlflow

IMPORTED = [
    "sqlalchemy",
    "faults.tiny",
    "designer_vision.components.train_pytorch_model",
    "designer_vision.components.evaluate_model",
    "designer_vision.inference.serving",
    "azure.ai.ml",
    "designer_vision.pipeline.run",
    "mlflow.tracking",
]
ENTRY = "designer_vision.entry."
EMPTY_DATABASE = os.environ.get("EMPTY_DATABASE", "")
"""Of MLflow, where one was made."""


def become(request: dict) -> None:
    """The process that was asked for, from here to its end."""
    out, err = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("out", "err"))
    take_place(request["env"], request["folder"], out, err)
    program, *flags = request["words"]
    if program == "designer-vision":
        sys.argv = [program, *flags]
        run_pipelines_of_forks()
        designer_vision.pipeline.command_line.main()
    be_component(program, flags)


def take_place(environment: Mapping[str, str], folder: str, out: int, err: int) -> None:
    """Have a new process's session, folder, streams and variables."""
    os.setsid()
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, stream in ((null, 0), (out, 1), (err, 2)):
        os.dup2(number, stream)
    for number in {null, out, err}:
        os.close(number)
    os.environ.clear()
    os.environ |= environment
    tempfile.tempdir = None


def be_component(program: str, flags: list[str]) -> None:
    if program == "faulty":
        import_module("faults.tiny").be_tiny_and_faulty()
        program, *flags = flags
    sys.argv = [program, *flags]
    entry = import_module(ENTRY + program)
    entry.run(entry.parse, needs_compiler=program == "train_pytorch_model")


def run_pipelines_of_forks() -> None:
    """Have the runner's steps and MLflow's process forked from this one, and begin with a database that is made already."""
    experiment.get_context = lambda _: multiprocessing.get_context("fork")
    processes.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": start_step})
    open_experiment = experiment.Experiment.open

    def open_with_database(self: experiment.Experiment, folder: Path) -> None:
        if EMPTY_DATABASE and not self.uri and not (folder / "mlflow.db").exists():
            shutil.copy(EMPTY_DATABASE, folder / "mlflow.db")
        open_experiment(self, folder)

    experiment.Experiment.open = open_with_database


def start_step(words: list[str], **how: Any) -> ForkedStep | subprocess.Popen:
    """A step of this checkout's components is forked, any other command started."""
    is_ours = words[:2] == ["python", "-m"] and words[2].startswith(ENTRY) and Path(how["cwd"]).samefile(SOURCES)
    return ForkedStep(words[2].removeprefix(ENTRY), words[3:], **how) if is_ours else subprocess.Popen(words, **how)


class ForkedStep:
    """As much of a subprocess.Popen as the runner uses."""

    def __init__(self, program: str, flags: list[str], *, env: Mapping[str, str], cwd: Path, stdout: Any, **_: Any) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become(program, flags, env, cwd, stdout.fileno())
            except Exception:  # noqa: BLE001 (nothing of it may go on as the runner)
                traceback.print_exc()
            finally:
                os._exit(1)

    def _become(self, program: str, flags: list[str], environment: Mapping[str, str], folder: Path, out: int) -> None:
        atexit._clear()  # the runner's
        multiprocessing.process._children.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        take_place(environment, str(folder), out, os.dup(out))
        be_component(program, flags)

    def poll(self) -> int | None:
        return self.wait(os.WNOHANG)

    def wait(self, options: int = 0) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode


def main() -> None:
    import_mlflow()
    for module in IMPORTED:
        with suppress(ModuleNotFoundError):  # the images have less than an environment of developers
            import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                become(request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":  # not in a process that one of its own spawns
    main()
