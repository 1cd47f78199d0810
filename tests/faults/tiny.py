"""Train PyTorch Model with a network of a few hundred weights, and faults that are asked for by environment variables.

FAULT_STEP_SECONDS=0.1           every step takes at least that long
FAULT_AT="RANK STEP WHAT"        before a step: exit (os._exit(0)), block (wait for ever), inf (a loss that is not finite),
                                     memory (more than there is)
FAULT_LOCK_SECONDS=60            a second job waits so long for the first one's folder
FAULT_FSYNC=EIO|2.0              every fsync fails, or takes that long
FAULT_OUTPUT=closed|full         nobody reads the standard output, or its disk is full
FAULT_FORKS=1                    each time a process is forked the log says beside which threads
FAULT_KILL_EXPORT_AT=N           SIGKILL at the N-th thing that the export writes
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from designer_vision.formats import manifest
from designer_vision.networks import builders


def build(architecture: object, num_classes: int, seed: int | None = None) -> nn.Module:
    """In place of builders.build."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        layers = [
            ("conv1", nn.Conv2d(3, 4, 3, stride=2)),
            ("bn1", nn.BatchNorm2d(4)),
            ("relu", nn.ReLU()),
            ("pool", nn.AdaptiveAvgPool2d(2)),
            ("flatten", nn.Flatten()),
            ("fc", builders.Head(16, num_classes)),
        ]
        return nn.Sequential(OrderedDict(layers))


def be_tiny_and_faulty() -> None:
    """Change the modules of this process."""
    from designer_vision.components.training_output import TrainingOutput
    from designer_vision.training.trainer import Trainer

    builders.build = build  # type: ignore[assignment]
    steps = iter(range(1, 10**6))
    step, seconds = Trainer.step, float(os.environ.get("FAULT_STEP_SECONDS", "0"))
    rank, at, what = (os.environ.get("FAULT_AT") or "- - -").split()

    def faulty_step(trainer: Trainer, batch: object, waited: float) -> object:
        time.sleep(seconds)
        if str(next(steps)) == at and str(trainer.ranks.rank) == rank:
            if what == "exit":
                os._exit(0)
            if what == "block":
                os.read(os.pipe()[0], 1)
            if what == "memory":
                torch.empty(2**45, dtype=torch.uint8)
            if what == "inf":
                trainer.network.fc.bias.data.fill_(float("inf"))
        return step(trainer, batch, waited)

    Trainer.step = faulty_step
    if lock_seconds := os.environ.get("FAULT_LOCK_SECONDS"):
        manifest.LOCK_SECONDS = float(lock_seconds)  # type: ignore[assignment]
    if output := os.environ.get("FAULT_OUTPUT"):
        _spoil_output(output)
    if os.environ.get("FAULT_FORKS"):
        os.register_at_fork(before=lambda: print("forked beside", [thread.name for thread in threading.enumerate()], flush=True))
    if fsync := os.environ.get("FAULT_FSYNC"):
        os.fsync = lambda descriptor: _faulty_fsync(fsync)
    if number := os.environ.get("FAULT_KILL_EXPORT_AT"):
        write_model = TrainingOutput.write_model

        def killed_write(*arguments: object) -> None:
            _kill_at(int(number))
            write_model(*arguments)

        TrainingOutput.write_model = killed_write


def _spoil_output(how: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer if how == "closed" else os.open("/dev/full", os.O_WRONLY), 1)


def _faulty_fsync(what: str) -> None:
    if what == "EIO":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    time.sleep(float(what))


def _kill_at(number: int) -> None:
    """SIGKILL at the N-th call that changes a file, half of them before it is made and half after."""
    calls = iter(range(1, 10**6))

    def lethal(original):
        def call(*arguments, **keywords):
            here = next(calls)
            if here == number and here % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **keywords)
            if here == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for owner, name in [(Path, "write_text"), (Path, "replace"), (Path, "unlink"), (torch, "save"), (shutil, "copyfile"), (shutil, "copytree"),
                        (shutil, "rmtree"), (os, "fsync")]:  # fmt: skip
        setattr(owner, name, lethal(getattr(owner, name)))
