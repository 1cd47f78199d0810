"""Every fault that a training must survive, several times: which test names it, and whether it passed.

    python benchmarks/faults.py ROUNDS

Runs the tests named test_f<number>_… and those beside them in tests/faults, the long ones too. Prints a table as Markdown and
ends with an error if a test failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import conditions, say

FILES = ("tests/faults", "tests/training/test_checkpoint.py", "tests/training/test_stopping.py", "tests/training/test_trainer.py",
         "tests/training/test_ranks.py", "tests/training/test_rendezvous.py", "tests/training/test_watcher.py",
         "tests/formats/test_manifest.py",
         "tests/pipeline/test_processes.py",
         "tests/runtime/test_tracking.py", "tests/data/test_images.py", "tests/data/test_loader.py")  # fmt: skip
FAULTS = {*range(1, 74)} - {16, 27, 41, 44, 53, 59, 66, 69, 72}  # the list of faults has these gaps
OTHERWISE = {
    34: "a disk that never answers is an fsync that does not return",
    50: "a link of 1 Mbit/s is made with tbf, where the kernel has it",
    64: "clocks are not turned back: none is read but for a metric's time, and the latest checkpoint is the furthest",
    73: "a user without a name is not tried: the tests' Python is not readable for others",
}


def outcomes(folder: Path) -> list[tuple[str, str, float]]:
    """Name, outcome and seconds of each test of one round."""
    report = folder / "report.xml"
    subprocess.run([sys.executable, "-m", "pytest", "-m", "not gpu", "-q", f"--junitxml={report}", *FILES], stdout=sys.stderr)
    found = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 (written by the line above)
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found.append(
            (f"{case.get('classname')}::{case.get('name')}", kinds[0] if kinds else "passed", float(case.get("time", 0)))
        )
    return found


def main(rounds: int) -> None:
    begin = time.monotonic()
    runs: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for number in range(rounds):
        with TemporaryDirectory() as folder:
            for name, outcome, seconds in outcomes(Path(folder)):
                runs[name].append((outcome, seconds))
        say(f"round {number + 1} of {rounds} after {time.monotonic() - begin:.0f} s")
    failed = [name for name, found in runs.items() if any(outcome in ("failure", "error") for outcome, _ in found)]
    print("# Faults and what came of them\n")
    minutes = (time.monotonic() - begin) / 60
    print(f"Rounds: {rounds}, in {minutes:.0f} minutes; {len(runs)} tests, {len(failed)} of them with a failure.\n")
    print("| fault | test | passed | longest, s |\n|---|---|---|---|")
    for name, found in sorted(runs.items(), key=lambda item: (numbers(item[0]), item[0])):
        if numbers(name):
            passed = sum(outcome == "passed" for outcome, _ in found)
            faults = ", ".join(f"F{number:02}" for number in numbers(name))
            print(f"| {faults} | {name.rpartition('::')[2]} | {passed} of {len(found)} | {max(s for _, s in found):.1f} |")
    print(f"\n* Command: `make test-faults ROUNDS={rounds}`")
    print("\n".join(conditions(("torch", "torchvision", "mlflow")).splitlines()[:2]))
    for number, how in OTHERWISE.items():
        print(f"* F{number:02}: {how}.")
    print("\n".join(f"* failed: {name}" for name in failed))
    without = sorted(FAULTS - {number for name in runs for number in numbers(name)})
    print(f"* without a test: {without or 'none'}")
    sys.exit(bool(failed or without))


def numbers(name: str) -> list[int]:
    """The faults that a test's name begins with."""
    found = re.match(r"test((_f\d\d)+)_", name.rpartition("::")[2])
    return [int(number) for number in re.findall(r"f(\d\d)", found[1])] if found else []


if __name__ == "__main__":
    main(int(sys.argv[1]))
