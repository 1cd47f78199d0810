"""What every entry's command line shares: strict types, and one line instead of a traceback."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import click

from designer_vision.errors import DesignerError, ParameterParsingError
from designer_vision.machine import end_with
from designer_vision.settings import RUNNER

TORCHRUN = "TORCHELASTIC_RUN_ID"
DEBUG = "DESIGNER_VISION_DEBUG"


class _Strict(click.ParamType[Any]):
    """Text to a value by one pattern of plain ASCII; Azure's client checks nothing and everything travels as text."""

    def __init__(self, name: str, pattern: str, make: Callable[[str], Any], expected: str) -> None:
        self.name, self._pattern, self._make, self._expected = name, re.compile(pattern, re.ASCII), make, expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if not self._pattern.fullmatch(value.strip(" ")):
            name = param.name if param else "value"
            raise ParameterParsingError(f"{name} is {value[:100]!r}, expected {self._expected}")
        return self._make(value.strip(" "))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ParameterParsingError(f"the number {text} is too large")
    return value


INTEGER = _Strict("integer", r"[+-]?[0-9]{1,19}", int, "a whole number")
NUMBER = _Strict("number", r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", _finite, "a number such as 0.001 or 1e-3")
BOOLEAN = _Strict("boolean", r"(?i:true|false)", lambda text: text.lower() == "true", "True or False")


class Choice(click.ParamType[Any]):
    """One of some texts."""

    name = "choice"

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            name = param.name if param else "value"
            raise ParameterParsingError(f"{name} is {str(value)[:100]!r}, expected one of {', '.join(self.choices)}")
        return str(value)


def port(name: str, required: bool = True) -> Callable[[Any], Any]:
    """The option of an input or output folder, under the port's own name."""
    return click.option(f"--{name}", type=click.Path(path_type=Path), required=required)


def parameter(name: str, type: click.ParamType[Any]) -> Callable[[Any], Any]:
    """The option of a parameter. It has no default: defaults stand in the component's YAML."""
    return click.option(f"--{name}", type=type, required=True)


def run(command: click.Command) -> Never:
    """Run an entry as a process: a user's error ends in one line on standard error and exit code 1.

    With DESIGNER_VISION_DEBUG=1 the traceback is shown too. What is no user's error keeps its traceback.
    """
    if runner := os.environ.get(RUNNER):
        end_with(int(runner))
    elif TORCHRUN in os.environ:
        end_with(os.getppid())
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        command.main(standalone_mode=False)
    except click.Abort:
        print("stopped before the work began", file=sys.stderr)
        leave(130)
    except click.UsageError as error:
        _end(ParameterParsingError(error.format_message()))
    except DesignerError as error:
        _end(error)
    leave(0)


def _end(error: DesignerError) -> Never:
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    size = os.environ.get("WORLD_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or "1"
    rank = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK")
    print(f"{'' if size == '1' else f'rank {rank}: '}{error.line()}", file=sys.stderr, flush=True)
    leave(error.exit_code)


def leave(exit_code: int) -> Never:
    """End this process after its exit functions, without taking the interpreter apart.

    Threads of torch's process group may still hold tensors then; one that asks for the interpreter's lock while it is taken
    apart aborts the whole process, and a job that was finished is reported as failed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # DataLoader's own complains of each worker's end
    for child in multiprocessing.active_children():  # one that hangs would be waited for below
        child.kill()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_code)
