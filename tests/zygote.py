"""Imports once what many tests start, and forks a process for each that is asked for: torch, MLflow and azure-ai-ml take seconds each.

    python zygote.py components|pipeline

One JSON object a line: {"words": [...], "env": {...}, "folder": path, "out": path, "err": path} is answered by the new process's
number, {"poll": number} by its exit code (-n after signal n), or null while it runs. The first word is a component's name, a tiny
faulty one of its kind (tests/faults/tiny.py) with "faulty" before it, or `designer-vision`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from contextlib import suppress
from importlib import import_module

import designer_vision.pipeline.command_line
from designer_vision.pipeline import experiment
from designer_vision.runtime.tracking import import_mlflow

IMPORTED = {
    "components": [
        "sqlalchemy",
        "faults.tiny",
        "designer_vision.components.train_pytorch_model",
        "designer_vision.inference.serving",
    ],
    "pipeline": ["sqlalchemy", "azure.ai.ml", "designer_vision.pipeline.run", "mlflow.tracking"],
}


def become(request: dict) -> None:
    """The process that was asked for, from here to its end."""
    os.setsid()
    os.chdir(request["folder"])
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("out", "err"))
    for number, stream in ((null, 0), (out, 1), (err, 2)):
        os.dup2(number, stream)
    for number in (null, out, err):
        os.close(number)
    os.environ.clear()
    os.environ |= request["env"]
    tempfile.tempdir = None
    program, *sys.argv[1:] = request["words"]
    sys.argv[0] = program
    if program == "designer-vision":
        experiment.get_context = lambda _: multiprocessing.get_context("fork")  # with MLflow, which is imported already
        designer_vision.pipeline.command_line.main()
    if program == "faulty":
        import_module("faults.tiny").be_tiny_and_faulty()
        program = sys.argv.pop(1)
    entry = import_module(f"designer_vision.entry.{program}")
    entry.run(entry.parse, needs_compiler=program == "train_pytorch_model")


def main() -> None:
    import_mlflow()
    for module in IMPORTED[sys.argv[1]]:
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
