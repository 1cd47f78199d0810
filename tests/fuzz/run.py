"""100,000 almost right inputs for every reader: what each does with them, how long it takes, and what it should not have done.

    python tests/fuzz/run.py FINDS [COUNT [SEED]] > RESULT.md

Inputs at which a reader raised an error that is not ours, did what no reader may do, took more than 10 seconds or crashed are left
in the folder FINDS. Every reader runs in a process of its own, with 4 GB of memory more than it starts with.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

SLOW_SECONDS = 10
MEMORY = 4 * 2**30


def main(finds: Path, count: int, seed: int) -> int:
    """Run all readers, two at a time; the exit code tells whether there is a find."""
    from fuzz.targets import targets

    finds.mkdir(parents=True, exist_ok=True)
    print(HEAD.format(count=count, seed=seed))
    found = 0
    with ThreadPoolExecutor(2) as pool:
        for row, of_reader in pool.map(lambda name: run_reader(name, finds, count, seed), targets()):
            print(row, flush=True)
            found += of_reader
    print(
        FOOT.format(
            python=platform.python_version(), **{name: version(name) for name in ("torch", "pillow", "pyarrow", "msgspec")}
        )
    )
    return min(found, 1)


def run_reader(name: str, finds: Path, count: int, seed: int) -> tuple[str, int]:
    """A row of the table, and how many finds there were."""
    with tempfile.TemporaryDirectory(prefix="fuzz_", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        command = [sys.executable, __file__, "--reader", name, scratch, str(finds), str(count), str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode:
            kept = finds / f"{name.replace(' ', '_')}_crash"
            kept.write_bytes((Path(scratch) / "input").read_bytes())
            return f"| {name} | crashed: exit code {done.returncode}, input in {kept.name} | | | | |", 1
    result = json.loads(done.stdout)
    return "| {reader} | {read} | {refused} | {slowest:.2f} | {grown:.0f} | {finds} |".format(**result), result["finds"]


HEAD = """\
# {count:,} almost right inputs for every reader

Right inputs, changed in one to four places (`tests/fuzz/mutations.py`). A reader may read them or refuse them with one line of
ours. It may not raise anything else, open a file outside its folder, import, connect, start or remove anything (an audit hook
looks), take more than 10 seconds, or crash.

Command: `make fuzz` (that is, `python tests/fuzz/run.py FINDS {count} {seed}`).

| reader of | read | refused | slowest s | memory grown MB | finds |
|---|---|---|---|---|---|"""
FOOT = """
Python {python}, torch {torch}, pillow {pillow}, pyarrow {pyarrow}, msgspec {msgspec}."""


def read_all(name: str, scratch: Path, finds: Path, count: int, seed: int) -> dict[str, Any]:
    """What a reader does with its inputs."""
    from fuzz.targets import emptied, targets
    from fuzz.watched import watched

    from designer_vision.runtime.errors import DesignerError

    target = targets()[name]
    for content in target.seeds:
        target.read(emptied(scratch / "in"), content)
    mutate = target.mutate(seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    outcome: dict[str, Any] = {"reader": name, "read": 0, "refused": 0, "slowest": 0.0, "finds": 0}
    for number in range(count):
        content = mutate(target.seeds[number % len(target.seeds)])
        (scratch / "input").write_bytes(content)
        folder = emptied(scratch / "in")
        begin = time.monotonic()
        problem = ""
        try:
            with watched(folder):
                target.read(folder, content)
            outcome["read"] += 1
        except DesignerError as error:
            outcome["refused"] += 1
            problem = "" if error.line().isprintable() else f"not one line: {error.line()!r}"
        except Exception:  # noqa: BLE001 (that is what is looked for)
            problem = traceback.format_exc()
        seconds = time.monotonic() - begin
        outcome["slowest"] = max(outcome["slowest"], seconds)
        if seconds > SLOW_SECONDS:
            problem += f"took {seconds:.1f} s"
        if problem:
            outcome["finds"] += 1
            kept = finds / f"{name.replace(' ', '_')}_{number}"
            kept.write_bytes(content)
            kept.with_name(f"{kept.name}.txt").write_text(problem)
    outcome["grown"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    return outcome


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if sys.argv[1] == "--reader":
        _, _, name, scratch, finds, count, seed = sys.argv
        out = sys.stdout
        sys.stdout = sys.stderr  # notes of readers
        print(json.dumps(read_all(name, Path(scratch), Path(finds), int(count), int(seed))), file=out)
    else:
        count, seed = ([*sys.argv[2:], "100000", "1"] if len(sys.argv) < 3 else [*sys.argv[2:], "1"])[:2]
        sys.exit(main(Path(sys.argv[1]), int(count), int(seed)))
