"""A step leaves its GPU alone: nothing is read back from it, and nothing is copied to it that it would have to be waited for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from designer_vision.training.metrics import add_to_totals, new_totals
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware
from designer_vision.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))
from scenarios import drawing_network, make_trainer, parameters, small_network

DRAWS = pytest.mark.parametrize("draws", [False, True], ids=["sgd", "adamw and dropout"])

WAITS = {
    "tolist", "item", "numpy", "cpu", "nonzero", "is_nonzero", "__bool__", "__float__", "__int__", "__index__", "__array__",
    "tensor", "as_tensor", "from_numpy", "unique", "masked_select", "allclose", "equal", "synchronize",
}  # fmt: skip
"""What reads from a GPU, or makes a tensor there of Python's numbers (a copy that is waited for)."""


class Waits(TorchFunctionMode):
    """Counts the calls that would wait for a GPU, were the tensors on one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(called, "__name__", str(called))
        if name in WAITS or (name == "to" and "cpu" in map(str, args)):
            self.found.append(name)
        return called(*args, **(kwargs or {}))


def ready(folder: Path, hardware: Hardware | None = None, is_trained: bool = False, draws: bool = False) -> Trainer:
    """A trainer whose batches are all decoded, which is what data workers do meanwhile."""
    network = drawing_network() if draws else small_network(True)
    trainer = make_trainer(folder, Ranks(), parameters(), network=network, hardware=hardware)
    trainer.prepare_ddp()
    trainer.is_trained = is_trained
    trainer.coming = iter([*trainer.loader.batches(trainer.plan())])
    return trainer


def take_steps(trainer: Trainer, count: int) -> None:
    """What the loop does between two lines of the log."""
    for iteration in range(1, count + 1):
        trainer.set_learning_rate(iteration)
        loss, logits, labels = trainer.step(trainer.next_batch(1, 0), 0.0)
        trainer.meter.add(iteration, loss, logits, labels)
        trainer.between_batches()


@DRAWS
def test_a_step_reads_nothing_back(tmp_path: Path, draws: bool) -> None:
    trainer = ready(tmp_path, draws=draws)
    take_steps(trainer, 1)
    with Waits() as waits:
        take_steps(trainer, 5)
    assert waits.found == []


def test_a_validation_reads_back_only_its_sums(tmp_path: Path) -> None:
    trainer = ready(tmp_path, is_trained=True)
    with Waits() as waits:
        trainer.validate(1)
    assert waits.found == ["to", "tolist"]


@pytest.mark.parametrize(
    "what", [lambda x: x.sum().item(), lambda x: bool(x.isfinite().all()), lambda x: torch.tensor(1.0), lambda x: x.to("cpu")]
)
def test_what_waits_is_counted(what: Any) -> None:
    with Waits() as waits:
        what(torch.ones(3))
    assert len(waits.found) == 1


def test_the_totals_are_kept_without_waiting() -> None:
    totals, logits = new_totals(torch.device("cpu")), torch.eye(4)
    with Waits() as waits:
        add_to_totals(totals, logits, torch.arange(4), torch.full((), 0.5))
    assert waits.found == []
    assert totals.tolist() == [2.0, 4.0, 4.0, 4.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_compiled", [False, True])
@DRAWS
def test_ten_steps_on_a_gpu_wait_for_nothing(tmp_path: Path, precision: torch.dtype, is_compiled: bool, draws: bool) -> None:
    trainer = ready(tmp_path, Hardware(torch.device("cuda", 0), precision, 0, compiled=is_compiled), draws=draws)
    assert isinstance(trainer.ddp, torch._dynamo.OptimizedModule) == is_compiled
    take_steps(trainer, 2)  # the first ones make what stays
    batches = [trainer.next_batch(1, 0) for _ in range(4)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for iteration in range(10):
            batch = batches[iteration % 4]
            trainer.set_learning_rate(iteration)
            loss, logits, labels = trainer.step(batch, 0.0)
            trainer.meter.add(iteration, loss, logits, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
