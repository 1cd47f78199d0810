"""How soon ranks end when one is lost, and how often one is taken for lost that is not; under full load.

    python benchmarks/watching.py TIMES SECONDS        # 100 3600: some minutes, and an hour

TIMES times, three ranks whose main threads wait for ever meet, and one of them is killed, ends without a word or fails; then
eight ranks whose main threads go on are there for SECONDS, while one after the other is stopped for 20 seconds in every minute.
Two processes a CPU do nothing but compute beside them, at the lowest priority, so that other work on the machine goes on and adds
to the load. Prints Markdown.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.context import ForkProcess
from pathlib import Path

from measure import conditions, say, summary

from designer_vision.pipeline.processes import free_port
from designer_vision.training.ranks import Ranks
from designer_vision.training.watcher import Watcher

FORK = multiprocessing.get_context("fork")
SILENCE, STALL = timedelta(seconds=60), timedelta(minutes=10)
"""As they are where nobody sets DESIGNER_VISION_PROCESS_GROUP_TIMEOUT."""
STOPPED, EVERY = 20, 60
WITHOUT_A_WORD = "ended without a word"
WAYS = ((signal.SIGKILL, WITHOUT_A_WORD), (signal.SIGUSR1, WITHOUT_A_WORD), (signal.SIGUSR2, "failed: 3.png is no image"))
"""Signals to a rank, and what the others say of it then."""


def be_a_rank(ranks: Ranks, log: Path, works: bool) -> None:
    """Meet the others; then wait for ever, for the word to end, or make a note every tenth of a second."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    told = {"fails": False}
    signal.signal(signal.SIGUSR1, lambda number, frame: os._exit(0))
    signal.signal(signal.SIGUSR2, lambda number, frame: told.update(fails=True))
    watcher = Watcher(ranks.rank, ranks.world_size, SILENCE, STALL)
    ranks.join(timedelta(minutes=2), {}, watcher)
    os.write(1, b"there\n")
    while True:
        time.sleep(0.1)
        if works:
            watcher.note("computing")
        if told["fails"]:
            watcher.fail("3.png is no image")
            os._exit(1)


def start(world_size: int, folder: Path, works: bool) -> tuple[list[ForkProcess], list[Path]]:
    """That many ranks, once all have met."""
    port = free_port()
    logs = [folder / f"rank_{rank}" for rank in range(world_size)]
    for log in logs:
        log.unlink(missing_ok=True)
    places = [Ranks(rank, world_size, rank, "0", "127.0.0.1", port) for rank in range(world_size)]
    processes = [FORK.Process(target=be_a_rank, args=(place, log, works)) for place, log in zip(places, logs, strict=True)]
    for process in processes:
        process.start()
    while not all(log.exists() and log.read_text().startswith("there") for log in logs):
        time.sleep(0.01)
    return processes, logs


def lose_one(folder: Path, draw: random.Random) -> tuple[str, float, bool]:
    """How a rank was lost, the seconds until the last of the others was gone, and whether all of them named it rightly."""
    processes, logs = start(3, folder, works=False)
    lost = draw.randrange(3)
    number, words = draw.choice(WAYS)
    time.sleep(draw.uniform(0, 2))
    begin = time.monotonic()
    os.kill(processes[lost].pid or 0, number)
    others = [rank for rank in range(3) if rank != lost]
    for rank in others:
        processes[rank].join(60)
    seconds = time.monotonic() - begin
    right = all(f"LostRankError: rank {lost} {words}" in logs[rank].read_text() for rank in others)
    right = right and all(processes[rank].exitcode == 1 for rank in others)
    for process in processes:
        process.kill()
        process.join()
    return number.name, seconds, right


def watch(folder: Path, seconds: float, draw: random.Random) -> tuple[int, list[str]]:
    """How often a rank was stopped, and what ranks said that were not lost."""
    processes, logs = start(8, folder, works=True)
    end, stops = time.monotonic() + seconds, 0
    while time.monotonic() < end and all(process.is_alive() for process in processes):
        time.sleep(min(EVERY - STOPPED, max(0.0, end - time.monotonic())))
        stopped = draw.choice(processes).pid or 0
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(STOPPED)
        os.kill(stopped, signal.SIGCONT)
        stops += 1
    time.sleep(5)
    said = [line for log in logs for line in log.read_text().splitlines() if line != "there"]
    for process in processes:
        process.kill()
        process.join()
    return stops, said


@contextmanager
def full_load():
    """Two processes a CPU that compute for nobody."""
    burners = [FORK.Process(target=_burn) for _ in range(2 * (os.cpu_count() or 1))]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def _burn() -> None:
    os.nice(19)
    while True:
        sum(range(10**6))


def main(times: int, seconds: float) -> None:
    draw = random.Random(1)  # noqa: S311 (draws what is tried)
    with tempfile.TemporaryDirectory() as name, full_load():
        folder = Path(name)
        losses = []
        for number in range(times):
            losses.append(lose_one(folder, draw))
            say(f"{number + 1} of {times}: {losses[-1]}")
        stops, said = watch(folder, seconds, draw) if seconds else (0, [])
    print("# A rank that is lost, and ranks that are not\n")
    print("| how one of three was lost | times | named rightly by the others | all gone after s |\n|---|---|---|---|")
    for how in sorted({how for how, _, _ in losses}):
        own = [loss for loss in losses if loss[0] == how]
        print(f"| {how} | {len(own)} | {Counter(right for *_, right in own)[True]} | {summary([taken for _, taken, _ in own])} |")
    print(f"\n{sum(right and taken < 10 for _, taken, right in losses)} of {len(losses)} within 10 s and rightly.\n")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Eight ranks for {seconds:.0f} s, {stops} stops of {STOPPED} s: {len(said)} false alarms; load at the end {load}.")
    for line in said:
        print(f"* {line}")
    print(f"\n* Command: `python benchmarks/watching.py {' '.join(sys.argv[1:])}`")
    print("* SIGUSR1 has a rank end by os._exit(0), SIGUSR2 by an error of its own.")
    print("* The main threads wait, and hear of nothing: as under NCCL. It is the watcher's thread that ends each process.")
    print(conditions(("torch",)))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
