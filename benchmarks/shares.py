"""Where the time of a training goes beside the network: waiting for images, counting, saving.

    python benchmarks/shares.py FOLDER

ResNet-18 at batch size 16, three epochs of 256 photos with a random crop and flip, one process. Times are taken around the
trainer's own calls; what a checkpoint's thread computes is told apart. Prints a table as Markdown.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path

from measure import conditions
from training import prepared, untrained

EPOCHS, PHOTOS, BATCH_SIZE = 3, 256, 16


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MLFLOW_TRACKING_URI"] = "sqlite://"
    from designer_vision.components import train_pytorch_model
    from designer_vision.data.loader import Loader
    from designer_vision.training.checkpoint import Checkpoints
    from designer_vision.training.meter import ThroughputMeter
    from designer_vision.training.parameters import Parameters
    from designer_vision.training.trainer import Trainer

    seconds: dict[tuple[str, int], float] = defaultdict(float)
    ends: list[float] = []

    def timed(owner: type, name: str, what: str, clock=time.perf_counter) -> None:
        original = getattr(owner, name)

        def call(*arguments, **keywords):
            begin = clock()
            try:
                return original(*arguments, **keywords)
            finally:
                seconds[what, len(ends)] += clock() - begin

        setattr(owner, name, call)

    epoch = Loader.epoch

    def waited_for(loader, number, batches):
        coming = epoch(loader, number, batches)
        while True:
            begin = time.perf_counter()
            batch = next(coming, None)
            seconds["waiting for images", len(ends)] += time.perf_counter() - begin
            if batch is None:
                return
            yield batch

    Loader.epoch = waited_for
    timed(ThroughputMeter, "add", "counting")
    timed(ThroughputMeter, "read", "counting")
    timed(Trainer, "save", "copying for a checkpoint")
    timed(Checkpoints, "save", "writing checkpoints, CPU of their thread", time.thread_time)
    finish = Trainer.finish_epoch

    def finish_epoch(trainer, number, validation):
        finish(trainer, number, validation)
        ends.append(time.perf_counter())

    Trainer.finish_epoch = finish_epoch
    data, output = prepared(folder, PHOTOS), folder / "trained"
    shutil.rmtree(output, ignore_errors=True)
    train = Trainer.train
    begin = [0.0]

    def begun(trainer):
        begin[0] = time.perf_counter()
        return train(trainer)

    Trainer.train = begun
    parameters = Parameters(EPOCHS, BATCH_SIZE, 0, 0.01, 1, 9, 10)
    train_pytorch_model.main(untrained(folder, "resnet18"), data / "training", data / "validation", parameters, output)
    durations = [end - start for start, end in zip([begin[0], *ends], ends, strict=False)]
    print("\n# Shares of a training's time\n")
    print("| what | " + " | ".join(f"epoch {number + 1}" for number in range(EPOCHS)) + " |\n|---|" + "---|" * EPOCHS)
    print("| all, s | " + " | ".join(f"{duration:.1f}" for duration in durations) + " |")
    for what in dict.fromkeys(name for name, _ in seconds):
        shares = [seconds[what, number] / durations[number] for number in range(EPOCHS)]
        print(f"| {what} | " + " | ".join(f"{100 * share:.2f} %" for share in shares) + " |")
    print("\n* Command: `python benchmarks/shares.py FOLDER`; one run.")
    print(conditions(("torch", "torchvision")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
