"""Runs processes for a benchmark: when each line came, what memory they took, and what else the machine was doing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

DISTURBED = 0.15
"""Cores that other processes used during a run, from which on it is repeated."""
TRIES = 3


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: from start to end.
        lines: what the first process printed, each with the seconds since the start.
        peak_mb: of all processes together, shared pages counted once; looked at once a second.
        others: cores that other processes and other machines on the same hardware used meanwhile.
    """

    seconds: float
    lines: list[tuple[float, str]]
    peak_mb: float
    others: float


def prepare(*words: object) -> None:
    """Run a command that makes what is measured later, once; its metrics go nowhere."""
    _run([str(word) for word in words], [{"MLFLOW_TRACKING_URI": "sqlite://"}])


def run(
    words: Sequence[object], environments: Iterable[Mapping[str, str]] = ({},), writes: Iterable[Path] = (), tries: int = TRIES
) -> Run:
    """Run a command, once for each of the environments at the same time; repeat it while others disturb it.

    Args:
        words: of the command.
        environments: variables of its own for each process.
        writes: folders to be removed before each try.
        tries: at most.

    Raises:
        RuntimeError: it failed; with what it printed last.
    """
    for _ in range(tries):
        for folder in writes:
            shutil.rmtree(folder, ignore_errors=True)
        result = _run([str(word) for word in words], list(environments))
        if result.others < DISTURBED:
            break
        say(f"  disturbed: others used {result.others:.2f} cores")
    return result


def _run(words: list[str], environments: list[Mapping[str, str]]) -> Run:
    lines: list[tuple[float, str]] = []
    peak = [0.0]
    start, busy, own = time.monotonic(), _busy_seconds(), _own_seconds()
    processes = [
        subprocess.Popen(
            words,
            env=os.environ | dict(environment),
            stdout=subprocess.PIPE if number == 0 else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, environment in enumerate(environments)
    ]
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ended, peak))
    watcher.start()
    first = processes[0].stdout
    assert first
    for line in first:
        lines.append((time.monotonic() - start, line.rstrip()))
    codes = [process.wait() for process in processes]
    seconds = time.monotonic() - start
    ended.set()
    watcher.join()
    if any(codes):
        raise RuntimeError(f"{' '.join(words)} ended with {codes}:\n" + "\n".join(line for _, line in lines[-20:]))
    others = (_busy_seconds() - busy - (_own_seconds() - own)) / seconds
    return Run(seconds, lines, peak[0], others)


def _busy_seconds() -> float:
    """CPU seconds of the whole machine, and those that its host gave to others."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _watch(ended: threading.Event, peak: list[float]) -> None:
    while not ended.wait(1):
        peak[0] = max(peak[0], sum(_proportional_mb(process) for process in descendants(os.getpid())))


def descendants(process: int) -> list[int]:
    """A process's children, and theirs."""
    try:
        children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def _proportional_mb(process: int) -> float:
    try:
        found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:  # it has just ended
        return 0
    return int(found[1]) / 1024 if found else 0


def summary(values: Sequence[float], digits: int = 1) -> str:
    """Median, and minimum to maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def conditions(packages: Sequence[str]) -> str:
    """The lines on hardware, versions and repeated runs that end a result file."""
    return (
        f"{hardware(packages, '; a shared machine')}"
        f"* A run during which other processes (and the host) took {DISTURBED} cores or more was repeated, up to {TRIES} times.\n"
    )


def hardware(packages: Sequence[str], remark: str = "") -> str:
    """The lines on hardware and versions."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    flags = Path("/proc/cpuinfo").read_text()
    extras = [
        name for flag, name in (("avx512f", "AVX-512"), ("avx512_bf16", "AVX512-BF16"), ("amx_bf16", "AMX")) if flag in flags
    ]
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in packages)
    return (
        f"* Hardware: {os.cpu_count()} cores, {cpu} with {', '.join(extras) or 'no AVX-512'}{remark}.\n"
        f"* Versions: Python {platform.python_version()}, {versions}; {platform.system()}.\n"
    )


def folded(lines: Sequence[str]) -> str:
    """Lines at the end of a page that show when they are asked for."""
    raw = "\n".join(lines)
    return f"""<details><summary>All runs</summary>

```text
{raw}
```

</details>"""


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
