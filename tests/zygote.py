"""Imports everything once and forks a process for each job that is asked for: torch takes seconds to import.

One JSON object a line: {"argv": [...], "env": {...}, "log": path} is answered by the new process's number,
{"poll": number} by its exit code (-n after signal n), or null while it runs.
"""

from __future__ import annotations

import json
import os
import sys

import sqlalchemy  # noqa: F401
from faults import tiny

import designer_vision.components.train_pytorch_model
import designer_vision.inference.serving  # noqa: F401
from designer_vision.entry.command_line import run
from designer_vision.entry.train_pytorch_model import parse
from designer_vision.runtime.tracking import import_mlflow

import_mlflow()


def become(request: dict) -> None:
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, stream in ((null, 0), (log, 1), (log, 2)):
        os.dup2(number, stream)
    os.environ |= request["env"]
    sys.argv = ["train_pytorch_model", *request["argv"]]
    tiny.be_tiny_and_faulty()
    run(parse)


def main() -> None:
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


main()
