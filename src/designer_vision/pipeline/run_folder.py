"""The output folder of a run: made or taken over, held by one run at a time, and marked with what ran there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from designer_vision.runtime.errors import PipelineError

MARK, LOCK = "pipeline.json", "run.lock"
LOGS = ("*/user_logs/*", "*/*/user_logs/*")
"""Of steps, and of the trials of sweeps."""


@contextmanager
def run_folder(folder: Path, pipeline: Path, inputs: Mapping[str, str]) -> Iterator[None]:
    """Make the output folder, or take one that an earlier run left, and hold it while the block lasts.

    Where the block fails before a step has said anything, what was made is removed.

    Raises:
        PipelineError: another run holds it, it holds something else, or it cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [entry for entry in folder.iterdir() if entry.name != LOCK and entry.suffix != ".tmp"]
            if others and not (folder / MARK).exists():
                raise PipelineError(f"{folder} is not empty and not the folder of an earlier run; give another --output_dir")
            stack.enter_context(_held(folder))
            write_record(folder / MARK, {"pipeline": str(pipeline.absolute()), "inputs": dict(inputs)})
        except OSError as error:
            raise PipelineError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            yield
        except BaseException:
            if made and not any(log.stat().st_size for logs in LOGS for log in folder.glob(logs)):
                shutil.rmtree(folder, ignore_errors=True)
                for parent in made[1:]:
                    with suppress(OSError):  # somebody else put something there
                        parent.rmdir()
            raise


def refuse_running(folder: Path) -> None:
    """Refuse an output folder that another run is writing to.

    Raises:
        PipelineError: with the other run's process.
    """
    if (folder / LOCK).exists():
        with suppress(OSError), _held(folder):
            pass


def process_of_run(folder: Path) -> int:
    """The process of the run that is writing to an output folder; 0 where there is none.

    A run that was killed leaves its number, which is another program's sooner or later: only the lock tells.
    """
    try:
        with (folder / LOCK).open() as lock:
            text = lock.read(20).strip()
            process = int(text) if text.isdecimal() else 0
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return process
            except OSError:  # a file system without locks
                return process if process and _is_alive(process) else 0
    except OSError:
        pass
    return 0


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("a+") as lock:
        lock.seek(0)
        other = lock.read(20).strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = False
        except BlockingIOError:
            is_held = True
        except OSError:  # a file system without locks
            is_held = other.isdigit() and int(other) != os.getpid() and _is_alive(int(other))
        if is_held:
            process = f", process {other}," if other else ""
            raise PipelineError(f"another run{process} is writing to {folder}; wait for it, or give another --output_dir")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def inputs_of_run(folder: Path) -> Mapping[str, Any]:
    """The inputs that an earlier run in a folder was given; empty where there was none."""
    inputs = read_record(folder / MARK).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def read_record(path: Path) -> Mapping[str, Any]:
    """A small JSON object; empty where there is none that can be read."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """In one go, so that a run that is killed leaves the old record or the new one."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record))
    scratch.replace(path)
