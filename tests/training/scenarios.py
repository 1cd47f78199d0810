"""What a training process does in test_trainer: a small network without batch norm, or with it, on coloured squares.

    python scenarios.py SCENARIO FOLDER

Each scenario prints nothing and writes FOLDER/rank_<rank>.pt.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import nn

from designer_vision.data.cache import PixelCache, shared_cache
from designer_vision.data.dataset import ImageDataset
from designer_vision.data.images import encode_png
from designer_vision.data.transforms import EvaluationTransform, Normalize
from designer_vision.entry.command_line import exit_process
from designer_vision.runtime import files
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, JobStoppedError
from designer_vision.training.checkpoint import state_of
from designer_vision.training.parameters import Parameters
from designer_vision.training.ranks import Ranks, Timeouts
from designer_vision.training.recipe import Hardware, Recipe
from designer_vision.training.results import Callbacks
from designer_vision.training.trainer import Trainer

SIZE = 8


@dataclass(frozen=True)
class Squares:
    """`count` noisy squares of two classes, in files below `folder`; an ImageSource."""

    folder: Path
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> np.ndarray:
        return (np.arange(self.count) % 2).astype(np.int32)

    def path(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def read(self, index: int, reserve: Callable[[int], None] | None = None) -> bytes:
        return files.read(self.folder, f"{index}.png", InvalidDatasetError, 10**6, reserve)

    def written(self) -> Squares:
        self.folder.mkdir(parents=True, exist_ok=True)
        for index in range(self.count):
            noise = np.random.default_rng(index).integers(0, 150, (SIZE, SIZE, 3))
            self.path(index).write_bytes(encode_png((noise + 100 * (index % 2)).astype(np.uint8)))
        return self


def small_network(batch_norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    norm: nn.Module = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))


def drawing_network() -> nn.Module:
    """One that AdamW trains, and that draws at each step what it drops."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(16, 2))


def parameters(**changed: float) -> Parameters:
    given: dict = {
        "epochs": 2,
        "batch_size": 4,
        "warmup_step_number": 0,
        "learning_rate": 0.05,
        "random_seed": 1,
        "patience": 9,
        "print_frequency": 2,
    }
    return Parameters(**given | changed)


def make_trainer(
    folder: Path,
    ranks: Ranks,
    seven: Parameters,
    *,
    network: nn.Module | None = None,
    train: int = 24,
    validate: int = 7,
    workers: int = 0,
    callbacks: Callbacks | None = None,
    hardware: Hardware | None = None,
    cache: PixelCache | None = None,
    new_head: nn.Module | None = None,
    class_weights: tuple[float, ...] = (),
) -> Trainer:
    torch.set_num_threads(1)
    fit = EvaluationTransform([], (SIZE, SIZE))
    return Trainer(
        network or small_network(),
        (
            ImageDataset(Squares(folder / "train", train).written(), fit, fit.size, [["RandomHorizontalFlip", {}]], 1, cache),
            ImageDataset(Squares(folder / "validate", validate).written(), fit, fit.size),
        ),
        seven,
        ranks,
        hardware or Hardware(torch.device("cpu"), torch.float32, workers),
        Recipe(Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), new_head, class_weights),
        callbacks,
    )


def poison(trainer: Trainer, rank: int, step: int) -> None:
    """Make the loss of one rank infinite from one step on, without its peers being told."""
    original, steps = trainer.to_device, iter(range(10_000))

    def to_device(batch):
        images, labels = original(batch)
        if trainer.network.training and trainer.ranks.rank == rank and next(steps) + 1 == step:
            images = torch.full(images.shape, torch.inf)
        return images, labels

    trainer.to_device = to_device  # type: ignore[method-assign]


def remove_after_validation(trainer: Trainer, images: Path) -> None:
    """Let the first validation end with this rank's training images gone."""
    original = trainer.validate

    def validate(number: int):
        shutil.rmtree(images, ignore_errors=True)
        return original(number)

    trainer.validate = validate  # type: ignore[method-assign]


class Contrary(Ranks):
    """Ranks whose validation losses go apart: the main one's falls every epoch, the others' rise by more."""

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        if values.shape == (4,) and sys._getframe(1).f_code.co_name == "validate":
            epoch = sys._getframe(1).f_locals["number"]
            values[0] = 100 - epoch if self.is_main else 100 + 2 * epoch
        return super().all_reduce_sum(values)


class Recorder:
    """Asks a trainer to stop between two batches, and keeps what it saves as it would come back from a disk."""

    def __init__(self, after: int | None) -> None:
        self.state: bytes | None = None
        self._after = after
        self._asked = 0

    def callbacks(self) -> Callbacks:
        return Callbacks(on_save=self._save, is_stop_requested=self._is_stop_requested)

    def _is_stop_requested(self) -> bool:
        self._asked += 1
        return self._asked == self._after

    def _save(self, state: dict, position: object) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        self.state = content.getvalue()


def outcome(trainer: Trainer) -> dict:
    """All that two trainings of the same must have in common."""
    result = trainer.train()
    history = [{**asdict(epoch), "images_per_second": 0, "spent": 0} for epoch in result.history]
    momentum = [
        {name: tensor.clone() for name, tensor in trainer.optimizer.state[weight].items()}
        for weight in trainer.network.parameters()
    ]
    weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    return {
        "history": history,
        "weights": weights,
        "kept": dict(result.weights),
        "momentum": momentum,
    }


def stopped_and_gone_on(folder: Path, ranks: Ranks, after: int, draws: bool = False, hardware: Hardware | None = None) -> dict:
    """Two outcomes: of a training in one go, and of one that was stopped and gone on with in new trainers."""

    def trainer() -> Trainer:
        network = drawing_network() if draws else small_network(True)
        return make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(), network=network, train=26, hardware=hardware)

    whole = outcome(trainer())
    first, recorder = trainer(), Recorder(after)
    first.callbacks = recorder.callbacks()
    try:
        first.train()
    except JobStoppedError as error:
        message = error.message
    state = ranks.broadcast_from_main(recorder.state)
    assert state is not None
    second = trainer()
    second.load(state_of(state))
    return {"whole": whole, "gone on": outcome(second), "message": message}


def run(scenario: str, folder: Path) -> dict:
    ranks = Ranks.from_environment()
    with ranks.connected(0, Timeouts(*[timedelta(seconds=60)] * 3), {}) as (ranks, _):
        if scenario == "plain":
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters())
        elif scenario == "weighted":
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(), class_weights=(0.25, 1.75))
        elif scenario == "batch norm":
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(), network=small_network(True))
        elif scenario == "validation of one image":
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(), validate=1)
        elif scenario == "decoded once":
            data = folder / f"data_{ranks.rank}"
            read_anew = make_trainer(data, ranks, parameters()).train()
            with shared_cache(np.full((24, 2), SIZE), 10**6, ranks.is_first_of_node, ranks.broadcast_on_node) as cache:
                trainer = make_trainer(data, ranks, parameters(), workers=1, cache=cache)
                remove_after_validation(trainer, data / "train")
                decoded_once = trainer.train()
            return {"losses": [[epoch.training.loss for epoch in result.history] for result in (read_anew, decoded_once)]}
        elif "stopped" in scenario:
            return stopped_and_gone_on(folder, ranks, int(scenario.split()[-1]), scenario.startswith("drawing"))
        elif scenario == "patience":
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(epochs=50, learning_rate=1e-9, patience=2))
            trainer.ranks = Contrary(**vars(ranks))
        else:
            trainer = make_trainer(folder / f"data_{ranks.rank}", ranks, parameters(epochs=3))
            poison(trainer, rank=1, step=5)
        try:
            result = trainer.train()
        except DesignerError as error:
            return {"error": error.message}
        weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
        told = {"history": result.history, "best": result.best}
        return told | {"weights": weights, "kept": dict(result.weights)}


if __name__ == "__main__":
    target = Path(sys.argv[2])
    torch.save(run(sys.argv[1], target), target / f"rank_{Ranks.from_environment().rank}.pt")
    exit_process(0)
