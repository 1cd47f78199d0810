"""What every entry's command line shares: strict types, and one line instead of a traceback."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import click

from designer_vision.runtime import values
from designer_vision.runtime.console import printable, replace_closed_streams, say
from designer_vision.runtime.errors import (
    DesignerError,
    FailedToWriteOutputsError,
    FileSystemError,
    ModuleOutOfMemoryError,
    ParameterParsingError,
    UnexpectedError,
    chain_of,
    is_out_of_memory,
)
from designer_vision.runtime.machine import die_with_parent
from designer_vision.runtime.settings import RUNNER
from designer_vision.runtime.without_compiler import leave_compiler_out

TORCHRUN = "TORCHELASTIC_RUN_ID"
DEBUG = "DESIGNER_VISION_DEBUG"


class _Strict(click.ParamType[Any]):
    """Text to a value by one of the strict parsers."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return values.PARSERS[self.name](_name_of(param), value) if isinstance(value, str) else value


INTEGER, NUMBER, BOOLEAN = _Strict("integer"), _Strict("number"), _Strict("boolean")


class Choice(click.ParamType[Any]):
    """One of some texts."""

    name = "choice"

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        values.check_choice(_name_of(param), str(value), self.choices)
        return str(value)


def _name_of(param: click.Parameter | None) -> str:
    return str(param.name) if param else "value"


class _Folder(click.ParamType[Path]):
    """The folder, or file, of a port."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value).strip():
            raise ParameterParsingError(f"{param.name if param else 'value'} is empty, expected a path")
        return Path(value)


class _Input(_Folder):
    """One that is only read."""


class _Output(_Folder):
    """One that is written."""


def port(name: str, required: bool = True) -> Callable[[Any], Any]:
    """The option of an input folder, under the port's own name."""
    return click.option(f"--{name}", type=_Input(), required=required)


def output(name: str) -> Callable[[Any], Any]:
    """The option of an output folder, under the port's own name."""
    return click.option(f"--{name}", type=_Output(), required=True)


class Entry(click.Command):
    """A component's command: its outputs are apart from its inputs, and an error says which port it is about."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the component.

        Raises:
            DesignerError: with the name of the port whose path it tells of in front.
        """
        folders = [(param, ctx.params[str(param.name)]) for param in self.params if isinstance(param.type, _Folder)]
        ports = {str(param.name): folder for param, folder in folders if folder is not None}
        try:
            check_apart(ports, [str(param.name) for param, _ in folders if isinstance(param.type, _Output)])
            return super().invoke(ctx)
        except DesignerError as error:
            if names := ports_of(error.message, ports):
                error.message = f"{names}: {error.message}"
            raise


def check_apart(ports: Mapping[str, Path], outputs: Sequence[str]) -> None:
    """Refuse an output that is, or lies in, or holds, another port's folder, by whatever links or mounts.

    Raises:
        FailedToWriteOutputsError: with the names of both ports.
    """
    for place, name in enumerate(outputs):
        for other, folder in ports.items():
            if other not in outputs[: place + 1] and (_is_inside(ports[name], folder) or _is_inside(folder, ports[name])):
                raise FailedToWriteOutputsError(
                    f"the output {ports[name]} and {other} {folder} are the same folder, or one lies inside the other; "
                    "give the output an empty folder elsewhere"
                )


def _is_inside(inner: Path, outer: Path) -> bool:
    """Whether a path is another one or below it; a mount of the same folder elsewhere counts as the same."""
    try:
        inner, outer = inner.resolve(), outer.resolve()
        if inner.is_relative_to(outer):
            return True
        return outer.exists() and any(parent.exists() and parent.samefile(outer) for parent in (inner, *inner.parents))
    except (OSError, RuntimeError):  # whoever opens it will tell
        return False


def ports_of(message: str, ports: Mapping[str, Path]) -> str:
    """The names of the ports whose path, the longest if there are several, stands in a message."""
    told = {name: printable(str(path)) for name, path in ports.items()}
    found = [name for name, path in told.items() if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", message)]
    longest = max((len(told[name]) for name in found), default=0)
    return " and ".join(name for name in found if len(told[name]) == longest)


def parameter(name: str, type: click.ParamType[Any]) -> Callable[[Any], Any]:
    """The option of a parameter. It has no default: defaults stand in the component's YAML."""
    return click.option(f"--{name}", type=type, required=True)


def run(command: click.Command, needs_compiler: bool = False) -> Never:
    """Run an entry as a process: whatever goes wrong ends in one line on standard error and an exit code.

    With DESIGNER_VISION_DEBUG=1 the traceback is shown too. What uses torch's optimizers needs its compiler.
    """
    if not needs_compiler:
        leave_compiler_out()
    if (runner := os.environ.get(RUNNER, "")).isdigit():
        die_with_parent(int(runner))
    elif TORCHRUN in os.environ:
        die_with_parent(os.getppid())
    replace_closed_streams()
    os.environ["MPLBACKEND"] = "agg"  # pictures are written, whatever the person's own sessions show them with
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        command.main(standalone_mode=False)
    except click.Abort:
        say("stopped before the work began", sys.stderr)
        exit_process(130)
    except click.UsageError as error:
        _end(ParameterParsingError(error.format_message()), error)
    except DesignerError as error:
        _end(error, error)
    except OSError as error:
        _end(FileSystemError(f"{error}; check that file or disk and run the same command again"), error)
    except Exception as error:  # noqa: BLE001 (nobody is left to handle it)
        for before in chain_of(error):  # DataLoader's signal handler raises wherever the process is, also while an error is told
            if isinstance(before, DesignerError):
                _end(before, error)
        if is_out_of_memory(error):
            _end(ModuleOutOfMemoryError(f"{str(error)[:200] or 'no memory is left'}; use a machine with more"), error)
        _end(UnexpectedError.of(error), error)
    exit_process(0)


def _end(told: DesignerError, error: Exception) -> Never:
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    say(told.line(), sys.stderr)
    exit_process(told.exit_code)


def exit_process(exit_code: int) -> Never:
    """End this process after its exit functions, without taking the interpreter apart.

    Threads of torch's process group may still hold tensors then; one that asks for the interpreter's lock while it is taken
    apart aborts the whole process, and a job that was finished is reported as failed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # DataLoader's own complains of each worker's end
    for child in multiprocessing.active_children():  # one that hangs would be waited for below
        child.kill()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(exit_code)
