"""What azure-ai-ml says of a pipeline: in a process of its own, since it takes seconds to load."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from designer_vision.designer.problems import AZURE, Problem
from designer_vision.runtime.machine import die_with_parent

PLACE = re.compile(r"jobs\.(\w+)(?:\.(?:inputs|outputs)\.(\w+))?")
LONGEST = 500
Answer = TypeVar("Answer")


class AzureChecks:
    """Asks azure-ai-ml about texts, one after another."""

    def __init__(self) -> None:
        self._process = self._new()

    async def problems(self, text: str, file: Path) -> list[Problem]:
        """What it says of a pipeline's text; waits for the answer.

        Args:
            text: of the YAML.
            file: from whose folder paths lead.

        Raises:
            RuntimeError: its process was ended; the next question has another one.
        """
        return await self._ask(_validate, text, str(file))

    async def submit(self, text: str, file: Path) -> str:
        """Send a pipeline to the workspace that a `config.json` names, and give the studio's address of the job.

        Raises:
            RuntimeError: it was not sent, with why, in the words of Azure's client.
        """
        return await self._ask(_send, text, str(file))

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context("spawn"), _begin, (os.getpid(),))

    def _ask(self, do: Callable[[str, str], Answer], text: str, file: str) -> asyncio.Future[Answer]:
        """Begin in the event loop's own thread: the process ends with the thread that has started it, and others come and go."""
        try:
            answer = self._process.submit(do, text, file)
        except BrokenProcessPool:
            self._process = self._new()
            answer = self._process.submit(do, text, file)
        return asyncio.wrap_future(answer)

    def close(self) -> None:
        """End the process."""
        processes = list((self._process._processes or {}).values())  # which the pool forgets as it shuts down
        self._process.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


# What the process does


def _begin(parent: int) -> None:
    die_with_parent(parent)
    if hasattr(os, "nice"):
        os.nice(5)  # it computes for seconds after each edit, longer with many steps; the page and a training go first
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)


def _validate(text: str, file: str) -> list[Problem]:
    from azure.ai.ml import load_job

    try:
        result = load_job(io.StringIO(text), relative_origin=file)._validate()
    except Exception as error:  # noqa: BLE001 (the client raises many kinds, each with a text made for people)
        return [Problem("", "", _short(error), AZURE)]
    return [_problem(place, said) for place, said in result.error_messages.items()]


def _problem(place: str, text: str) -> Problem:
    match = PLACE.match(place)
    return Problem(match[1] if match else "", (match[2] or "") if match else "", f"{place}: {_short(text)}", AZURE)


def _short(text: object) -> str:
    return " ".join(str(text).split())[:LONGEST]


def _send(text: str, file: str) -> str:
    from azure.ai.ml import MLClient, load_job
    from azure.identity import DefaultAzureCredential

    try:
        job = load_job(io.StringIO(text), relative_origin=file)
        client = MLClient.from_config(DefaultAzureCredential(), path=str(Path(file).parent))
        return str(client.jobs.create_or_update(job).studio_url)
    except Exception as error:  # noqa: BLE001 (as above)
        raise RuntimeError(_short(error)) from None  # the client's own errors do not all survive the way to another process
