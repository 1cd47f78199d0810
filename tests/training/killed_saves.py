"""Kills a save at every place where it touches the disk, each time in a process of its own.

    python killed_saves.py FOLDER        prints at how many places

A process in which torch has done nothing yet forks safely; the tests' own is none, so that this is a script.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from designer_vision.training import checkpoint
from designer_vision.training.checkpoint import Checkpoints, Manifest, Position, state_of


def lethal(number: int) -> None:
    """Change this process so that it is killed before the N-th thing that a save does to the disk, or in the middle of a write."""
    calls = iter(range(1, 10**6))

    def at_each_call(original):
        def call(*arguments, **keywords):
            if next(calls) == number:
                if original is write:
                    original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    arguments[0].flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    write = checkpoint._Hashing.write
    checkpoint._Hashing.write = at_each_call(write)
    checkpoint._to_disk = at_each_call(checkpoint._to_disk)
    checkpoint._encode = at_each_call(checkpoint._encode)
    checkpoint._folder_to_disk = at_each_call(checkpoint._folder_to_disk)
    Path.open = at_each_call(Path.open)
    Path.unlink = at_each_call(Path.unlink)


def save(folder: Path, number: int) -> int:
    content = {"number": number, "weights": torch.zeros(100)}
    Checkpoints(folder).save(content, Manifest(Position(number), "", "", {}, {}, {}))
    return 0


def save_and_be_killed(folder: Path, place: int) -> int:
    lethal(place)
    return save(folder, 4)


def load(folder: Path) -> int:
    newest = Checkpoints(folder).newest()
    assert newest is not None
    return int(state_of(Checkpoints(folder).payload(newest))["number"])


def in_a_child(work: Callable[..., int], *arguments: object) -> int:
    """What the work gave, or -9 where it was killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work(*arguments)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    before = folder / "before"
    for number in (1, 2, 3):
        assert in_a_child(save, before, number) == 0
    place, ended = 0, -signal.SIGKILL
    while ended != 0:
        place += 1
        folder = shutil.copytree(before, before.parent / f"killed_at_{place}")
        ended = in_a_child(save_and_be_killed, folder, place)
        assert ended in (0, -signal.SIGKILL)
        number = in_a_child(load, folder)
        assert number in ((4,) if ended == 0 else (3, 4)), f"killed at place {place}, checkpoint {number} is the newest"
    print(place - 1)


main(Path(sys.argv[1]))
