"""The training loop: alone in this process, and on two or three ranks in processes of their own."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from designer_vision.data.dataset import ImageDataset
from designer_vision.data.epoch_order import batches, epoch_order, remaining, shard
from designer_vision.pipeline.graph import Step
from designer_vision.pipeline.processes import Processes, free_port, rank_variables
from designer_vision.runtime.errors import InvalidDatasetError, JobStoppedError, TrainingDivergedError
from designer_vision.training.checkpoint import state_of
from designer_vision.training.metrics import Averages
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware
from designer_vision.training.results import (
    Callbacks,
    EpochResult,
    IterationLog,
    TimeBreakdown,
    epoch_to_keep,
    epochs_without_improvement,
)
from designer_vision.training.trainer import VALIDATION, Trainer

sys.path.insert(0, str(Path(__file__).parent))
from scenarios import Recorder, drawing_network, make_trainer, outcome, parameters, poison, small_network, stopped_and_gone_on

ALONE = Ranks()


def on_ranks(scenario: str, folder: Path, world: int, distribution: str = "pytorch") -> list[dict]:
    """What each rank of a scenario came to, run in processes as Azure ML starts them."""
    step = Step("train", "", ROOT, {}, (), 1, world, distribution, {})
    environments = [os.environ | {"PYTHONPATH": str(ROOT / "src")} | own for own in rank_variables(step, free_port())]
    logs = [folder / f"log_{rank}" for rank in range(world)]
    words = [sys.executable, str(Path(__file__).parent / "scenarios.py"), scenario, str(folder)]
    with Processes(words, environments, logs, folder) as processes:
        while (failure := processes.failure()) is None and not processes.have_ended():
            time.sleep(0.05)
    assert failure is None, failure.log.read_text()
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=False) for rank in range(world)]


def same(one: dict, other: dict, tolerance: float = 0) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in one)


def weights_after(folder: Path, **options: object) -> dict:
    trainer = make_trainer(folder, ALONE, parameters(**options.pop("parameters", {})), **options)
    trainer.train()
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


# alone


def test_the_same_seed_gives_the_same_bits_with_any_number_of_workers(tmp_path: Path) -> None:
    first = weights_after(tmp_path / "a")
    assert same(first, weights_after(tmp_path / "b", workers=2))
    assert not same(first, weights_after(tmp_path / "c", parameters={"random_seed": 2}))


def test_batches_to_train_on_that_come_while_a_validation_waits_can_be_trained_on(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ALONE, parameters(), workers=2)
    trainer.coming = trainer.loader.batches(trainer.plan())
    with torch.inference_mode():
        batch = trainer.next_batch(1, 0)
    assert not batch.images.is_inference()
    assert not batch.labels.is_inference()


def test_the_kept_weights_are_a_copy_of_the_epoch_that_is_kept(tmp_path: Path) -> None:
    seen: dict[int, dict] = {}
    trainer = make_trainer(tmp_path, ALONE, parameters(epochs=4))

    def remember(epoch: EpochResult) -> None:
        seen[epoch.number] = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}

    trainer.callbacks = Callbacks(on_epoch=remember)
    accuracies = iter([0.2, 0.9, 0.85, 0.5])
    losses = iter([1.0, 0.6, 0.7, 0.1])
    validate = trainer.validate

    def pretend(number: int) -> Averages:
        validate(number)
        return Averages(next(losses), next(accuracies), 1.0, 7)

    trainer.validate = pretend  # type: ignore[method-assign]
    result = trainer.train()
    assert result.best.number == 3  # of seven images nobody can tell 85 from 90 %
    assert same(dict(result.weights), seen[3])
    assert not same(dict(result.weights), seen[4])


@pytest.mark.parametrize(
    ("top1", "images", "kept"),
    [
        ([0.2, 0.9, 0.85, 0.5], 7, 3),
        ([0.2, 0.9, 0.85, 0.5], 10_000, 2),
        ([0.2, 0.9, 0.899, 0.5], 10_000, 3),
        ([0.5, 0.5, 0.5], 7, 3),
        ([0.5, 1.0, 6 / 7], 7, 3),
        ([0.5, 1.0, 0.9], 30, 2),
        ([0.5, 1.0, 29 / 30], 30, 3),
        ([0.5, 0.99, 0.98], 100, 3),
        ([0.3, 0.0], 7, 1),
        ([0.8, 0.79, 0.9, 0.7], 400, 3),
    ],
)
def test_the_latest_epoch_is_kept_that_chance_does_not_tell_from_the_best(top1: list[float], images: int, kept: int) -> None:
    history = [EpochResult(n, Averages(0, 0, 0, 1), Averages(1, share, 1, images), 1, 1) for n, share in enumerate(top1, 1)]
    assert epoch_to_keep(history).number == kept
    by_and_by = [epoch for n, epoch in enumerate(history, 1) if epoch_to_keep(history[:n]) is epoch]
    assert by_and_by[-1].number == kept  # its weights were at hand when it ended


def test_a_step_takes_the_mean_from_each_gradient_and_a_new_head_learns_at_its_own_rate(tmp_path: Path) -> None:
    network = small_network()
    before = {name: kernel.detach().clone() for name, kernel in network.named_parameters() if kernel.ndim > 1}
    trainer = make_trainer(tmp_path, ALONE, parameters(learning_rate=0.002), network=network, new_head=network[5])
    trainer.train()
    for name, kernel in before.items():
        moved = network.get_parameter(name).detach() - kernel
        assert moved.abs().max() > 1e-4
        assert moved.flatten(1).mean(dim=1).abs().max() < 5e-6  # but for weight decay
    trainer.set_learning_rate(0)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.002, 0.002, 0.02, 0.02])


def test_patience_counts_epochs_in_a_row_without_a_new_lowest_loss() -> None:
    def history(*losses: float) -> list[EpochResult]:
        return [EpochResult(n, Averages(0, 0, 0, 1), Averages(loss, 0, 0, 1), 1, 1) for n, loss in enumerate(losses, 1)]

    assert epochs_without_improvement(history(3, 2, 2.5, 2, 2.2)) == 3  # an equal loss is no new lowest one
    assert epochs_without_improvement(history(3, 2, 2.5, 1)) == 0


def test_metrics_carry_the_designers_names(tmp_path: Path) -> None:
    result = make_trainer(tmp_path, ALONE, parameters()).train()
    assert list(result.best.metrics()) == [
        "Train images per second", "Train loss", "Train error", "Valid loss",
        "Top-1 validation accuracy", "Top-5 validation accuracy", "learning rate",
    ]  # fmt: skip
    assert [epoch.training.seen for epoch in result.history] == [24, 24]
    assert result.best.training.error == 1 - result.best.training.top1


def test_a_line_comes_every_print_frequency_iterations_and_at_the_end(tmp_path: Path) -> None:
    lines: list[tuple[int, int]] = []
    callbacks = Callbacks(on_iteration=lambda at: lines.append((at.epoch, at.iteration)))
    make_trainer(tmp_path, ALONE, parameters(print_frequency=4, epochs=2), callbacks=callbacks).train()
    assert lines == [(1, 4), (1, 6), (2, 4), (2, 6)]


def test_a_loss_that_is_not_finite_names_epoch_and_iteration(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ALONE, parameters(print_frequency=100))
    poison(trainer, rank=0, step=5)
    with pytest.raises(TrainingDivergedError, match=r"at epoch 1, iteration 5; choose a lower learning_rate"):
        trainer.train()


def test_a_validation_loss_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ALONE, parameters())
    with torch.no_grad():
        trainer.network[5].bias.fill_(torch.nan)
    trainer.is_trained = True
    trainer.coming = trainer.loader.batches(trainer.plan())
    with pytest.raises(TrainingDivergedError, match="the validation loss of epoch 1 is not finite"):
        trainer.validate(1)


def test_an_unreadable_image_stops_the_training_by_name(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ALONE, parameters())
    (tmp_path / "train" / "7.png").unlink()
    with pytest.raises(InvalidDatasetError, match=r"7\.png is missing"):
        trainer.train()


def top1_of(weights: dict, images: ImageDataset) -> float:
    """The share of the squares that a small network with these weights calls rightly."""
    network = small_network("1.running_mean" in weights)
    network.load_state_dict(weights)
    batch = torch.stack([images.image(0, number) for number in range(len(images))])
    with torch.inference_mode():
        predicted = network.eval()((batch / 255 - 0.5) / 0.5).argmax(dim=1)
    return (predicted == torch.arange(len(images)) % 2).double().mean().item()


def test_the_weights_kept_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ALONE, parameters(epochs=3), network=small_network(True))
    result = trainer.train()
    assert top1_of(dict(result.weights), trainer.datasets[VALIDATION]) == pytest.approx(result.best.validation.top1)


def test_an_epoch_tells_where_its_seconds_went(tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path, ALONE, parameters(epochs=2), callbacks=Callbacks(is_save_due=lambda epoch_ended: epoch_ended)
    )
    began = time.perf_counter()
    history = trainer.train().history
    seconds = time.perf_counter() - began
    for epoch in history:
        assert min(epoch.spent.waiting, epoch.spent.computing, epoch.spent.validating) > 0
    assert history[1].spent.saving > 0  # what the end of the first epoch saved, after its figures were known
    assert 0.5 * seconds < sum(epoch.spent.total for epoch in history) < seconds


# stopped and gone on with

EPOCHS, TRAINED, VALIDATED = 3, 7, 2
"""Batches an epoch, of 26 and of 7 images at batch size 4."""
EDGES = EPOCHS * (TRAINED + VALIDATED)


def resumable(folder: Path) -> Trainer:
    seven = parameters(epochs=EPOCHS, print_frequency=3, warmup_step_number=1)
    return make_trainer(folder, ALONE, seven, network=small_network(True), train=26)


def saved_after(folder: Path, edge: int | None) -> dict:
    """The state that a training leaves, stopped after so many batches, or finished."""
    trainer, recorder = resumable(folder), Recorder(edge)
    trainer.callbacks = recorder.callbacks()
    with pytest.raises(JobStoppedError, match=r"stopped after \d+ images of epoch \d") if edge else nullcontext():
        trainer.train()
    assert recorder.state is not None
    return dict(state_of(recorder.state))


def gone_on(folder: Path, state: dict) -> dict:
    trainer = resumable(folder)
    trainer.load(state)
    return outcome(trainer)


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_a_training_stopped_between_any_two_batches_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = outcome(resumable(tmp_path))
    assert len(whole["history"]) == EPOCHS
    for edge in [*range(1, EDGES + 1), None]:
        assert equal(gone_on(tmp_path, saved_after(tmp_path, edge)), whole), f"stopped after batch {edge}"


@pytest.mark.parametrize(
    ("item", "edge", "left_out"),
    [
        ("segments", 4, [(1, 0)]),
        ("meter", 5, {"whole": torch.zeros(4), "stretches": torch.zeros(1, 4), "seconds": 0.0, "stretch_seconds": 0.0}),
        ("statistics", 4, torch.zeros(1, 8)),
        ("totals", 8, torch.zeros(1, 4)),
        ("learning_rate", 8, 0.0),
        ("validated", 8, 0),
        ("network", 4, small_network(True).state_dict()),
    ],
)
def test_every_stored_item_counts(tmp_path: Path, item: str, edge: int | None, left_out: object) -> None:
    state = saved_after(tmp_path, edge)
    assert item in state
    assert not equal(gone_on(tmp_path, state | {item: left_out}), outcome(resumable(tmp_path)))


def test_a_network_that_draws_and_is_trained_by_adamw_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    for after in (2, 9):
        result = stopped_and_gone_on(tmp_path, ALONE, after, draws=True)
        assert equal(result["gone on"], result["whole"])
        assert result["whole"]["momentum"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize(
    "changed",
    [{"step": torch.tensor(-1.0)}, {"exp_avg_sq": torch.tensor(-1.0)}, {"exp_avg": torch.tensor(torch.nan)}, {"exp_avg": None}],
    ids=["a step before the first", "squares below zero", "no number", "nothing"],
)
def test_what_adamw_cannot_have_kept_is_refused(tmp_path: Path, changed: dict) -> None:
    trainer, recorder = make_trainer(tmp_path, ALONE, parameters(), network=drawing_network()), Recorder(2)
    trainer.callbacks = recorder.callbacks()
    with pytest.raises(JobStoppedError):
        trainer.train()
    assert recorder.state is not None
    state = dict(state_of(recorder.state))
    kept = state["optimizer"]["state"][0]
    for name, value in changed.items():
        kept[name] = None if value is None else value.expand(kept[name].shape).clone()
    with pytest.raises(ValueError, match="it does not hold"):
        make_trainer(tmp_path, ALONE, parameters(), network=drawing_network()).load(state)


def test_what_a_network_draws_follows_from_seed_step_and_rank(tmp_path: Path) -> None:
    def drawn(seed: int, step: int, ranks: Ranks) -> float:
        trainer = make_trainer(tmp_path, ALONE, parameters(random_seed=seed))
        trainer.ranks = ranks
        trainer.seed_network(step)
        return torch.rand(()).item()

    places = [(1, 0, ALONE), (1, 1, ALONE), (2, 0, ALONE), (1, 0, Ranks(1, 2))]
    first, again = ([drawn(*place) for place in places] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(places)


def test_the_stored_momentum_counts(tmp_path: Path) -> None:
    state = saved_after(tmp_path, 4)
    state["optimizer"] = state["optimizer"] | {"state": {}}
    assert not equal(gone_on(tmp_path, state), outcome(resumable(tmp_path)))


def test_the_seconds_before_a_stop_count(tmp_path: Path) -> None:
    trainer = resumable(tmp_path)
    trainer.load(saved_after(tmp_path, 4) | {"spent": asdict(TimeBreakdown(waiting=1000.0))})
    assert trainer.train().history[0].spent.waiting > 1000


def test_nothing_is_stored_that_no_test_leaves_out(tmp_path: Path) -> None:
    controlled = {item for mark in test_every_stored_item_counts.pytestmark for item, *_ in mark.args[1]}
    # the scaler's state is empty on a CPU: only float16 on a GPU scales
    assert set(saved_after(tmp_path, 4)) == controlled | {"optimizer", "scaler", "history", "best", "spent"}


def test_what_was_trained_in_another_number_format_is_gone_on_with_in_float16(tmp_path: Path) -> None:
    trainer = resumable(tmp_path)
    trainer.scaler = torch.amp.GradScaler("cpu")
    state = saved_after(tmp_path, 4)
    assert state["scaler"] == {}
    scale = trainer.scaler.state_dict()
    trainer.load(state)
    assert trainer.scaler.state_dict() == scale
    assert trainer.position().images > 0


def test_the_stored_scale_of_float16_counts(tmp_path: Path) -> None:
    trainer = resumable(tmp_path)
    trainer.scaler = torch.amp.GradScaler("cpu")
    trainer.load(saved_after(tmp_path, 4) | {"scaler": trainer.scaler.state_dict() | {"scale": 256.0}})
    assert trainer.scaler.state_dict()["scale"] == 256.0


HOSTILE = {
    "history without its weights": {"best": {}},
    "weights without their history": {"history": []},
    "a name in a figure": {"history": [{"number": "x/../.."}]},
    "more hits than images": {"history": [asdict(EpochResult(1, Averages(1, 1, 1, 9), Averages(1, 1.5, 1, 7), 1, 1))]},
    "no images": {"history": [asdict(EpochResult(1, Averages(1, 1, 1, 9), Averages(1, 1, 1, 0), 1, 1))]},
    "no segments": {"segments": []},
    "no ranks": {"segments": [(0, 0)]},
    "endless ranks": {"segments": [(10**12, 1)]},
    "half a segment": {"segments": [(1, 0.5)]},
    "half a batch": {"validated": 0.5},
    "a figure that is a tensor": {"learning_rate": torch.zeros(1)},
    "no figure": {"learning_rate": float("nan")},
    "sums of another shape": {"totals": torch.zeros(1, 5)},
    "seconds that are a text": {"spent": {"waiting": "x"}},
    "statistics of another network": {"statistics": torch.zeros(1, 9)},
    "statistics of many": {"statistics": torch.zeros(1, 1).expand(10**6, 8)},
    "weights that are a list": {"best": [1]},
    "weights of another network": {"network": {"x": torch.zeros(1)}},
    "momentum of another shape": {"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(1)}}}},
    "momentum of a weight that is not there": {"optimizer": {"state": {999_999: {}}}},
    "momentum that is a text": {"optimizer": {"state": {0: {"momentum_buffer": "x"}}}},
    "more": {"more": 1},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE)
def test_a_state_that_is_not_this_trainings_is_refused_before_anything_is_taken_from_it(tmp_path: Path, changed: dict) -> None:
    trainer, state = resumable(tmp_path), saved_after(tmp_path, None)
    before = [tensor.clone() for tensor in trainer.network.state_dict().values()]
    with pytest.raises(ValueError, match="it does not hold|Expected|unknown field"):
        trainer.load(state | changed)
    assert all(map(torch.equal, before, trainer.network.state_dict().values()))
    assert trainer.history == []


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_on_another_number_of_ranks_the_epochs_other_images_are_dealt_out_once(before: int, after: int) -> None:
    order = epoch_order(26, 1, 1)
    first = [batch for rank in range(before) for batch in batches(shard(order, rank, before), 4)[:2]]
    left = remaining(order, [(before, 2)], 4)
    assert sorted([*np.concatenate(first), *left]) == list(range(26))
    then = np.concatenate([batch for rank in range(after) for batch in batches(shard(left, rank, after), 4)[:1]])
    last = remaining(order, [(before, 2), (after, 1)], 4)
    assert len(then) - len({*then}) <= -len(left) % after  # what is padded so that ranks have equally many
    assert sorted([*np.concatenate(first), *{*then}, *last]) == list(range(26))
    assert len(remaining(order, [(before, 2), (after, 99)], 4)) == 0


def test_a_training_of_two_ranks_is_finished_by_one(tmp_path: Path) -> None:
    state = saved_after(tmp_path, 4)
    two = state | {"segments": [(2, 2)], "statistics": state["statistics"].repeat(2, 1), "totals": state["totals"].repeat(2, 1)}
    two["meter"] = state["meter"] | {"stretches": state["meter"]["stretches"].repeat(2, 1), "stretch_seconds": 1000.0}
    trainer = resumable(tmp_path)
    trainer.load(two)
    lines: list[IterationLog] = []
    trainer.callbacks = Callbacks(on_iteration=lines.append)
    assert trainer.position().images == 16
    result = trainer.train()
    assert [line.iteration for line in lines[:2]] == [6, 7]  # the 10 images that are left are the epoch's last 3 batches
    assert len(result.history) == EPOCHS
    assert lines[0].images_per_second > 1  # the seconds before are those of other images
    assert result.history[len(state["history"])].images_per_second < 1


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    trainer, recorder = resumable(tmp_path), Recorder(2)
    poison(trainer, rank=0, step=2)
    trainer.callbacks = recorder.callbacks()
    with pytest.raises(TrainingDivergedError, match="at epoch 1, iteration 2"):
        trainer.train()
    assert recorder.state is None


# on several ranks


@pytest.mark.parametrize(
    ("world", "scenario"),
    [(2, "stopped after 3"), (2, "stopped after 5"), (3, "stopped after 2"), (2, "drawing, stopped after 3")],
)
def test_ranks_that_stop_together_go_on_with_the_same_bits(tmp_path: Path, world: int, scenario: str) -> None:
    for result in on_ranks(scenario, tmp_path, world):
        assert equal(result["gone on"], result["whole"])
        assert "images of epoch 1" in result["message"]


def test_two_processes_equal_one_on_the_same_global_batch(tmp_path: Path) -> None:
    first, second = on_ranks("plain", tmp_path, world=2)
    assert same(first["weights"], second["weights"])
    # twice the batch and twice the learning rate: what two processes make of the parameters
    alone = make_trainer(tmp_path / "alone", ALONE, parameters(batch_size=8, learning_rate=0.1))
    result = alone.train()
    assert same(first["weights"], alone.network.state_dict(), tolerance=1e-5)
    assert [epoch.training.seen for epoch in first["history"]] == [24, 24]
    for ours, theirs in zip(first["history"], result.history, strict=True):
        assert ours.training.loss == pytest.approx(theirs.training.loss, abs=1e-5)
        assert ours.validation.loss == pytest.approx(theirs.validation.loss, abs=1e-5)
        assert ours.learning_rate == pytest.approx(theirs.learning_rate)


def test_two_processes_with_weighted_classes_equal_one_on_the_same_global_batch(tmp_path: Path) -> None:
    first, _ = on_ranks("weighted", tmp_path, world=2)
    alone = make_trainer(tmp_path / "alone", ALONE, parameters(batch_size=8, learning_rate=0.1), class_weights=(0.25, 1.75))
    result = alone.train()
    assert same(first["weights"], alone.network.state_dict(), tolerance=1e-5)
    plain = make_trainer(tmp_path / "plain", ALONE, parameters(batch_size=8, learning_rate=0.1))
    assert not same(first["weights"], (plain.train(), plain.network.state_dict())[1], tolerance=1e-3)
    for ours, theirs in zip(first["history"], result.history, strict=True):
        assert ours.validation.loss == pytest.approx(theirs.validation.loss, abs=1e-5)


def test_all_ranks_evaluate_one_network_also_with_batch_norm(tmp_path: Path) -> None:
    first, second = on_ranks("batch norm", tmp_path, world=2)
    assert same(first["weights"], second["weights"])
    assert [epoch.validation for epoch in first["history"]] == [epoch.validation for epoch in second["history"]]
    assert [epoch.validation.seen for epoch in first["history"]] == [7, 7]
    images = make_trainer(tmp_path / "data_0", ALONE, parameters()).datasets[VALIDATION]
    assert top1_of(first["kept"], images) == pytest.approx(first["best"].validation.top1)
    assert first["kept"]
    assert not second["kept"]


def test_f71_a_validation_smaller_than_the_world_does_not_hang(tmp_path: Path) -> None:
    results = on_ranks("validation of one image", tmp_path, world=3, distribution="mpi")
    assert {epoch.validation.seen for result in results for epoch in result["history"]} == {1}


def test_early_stopping_stops_every_rank_together(tmp_path: Path) -> None:
    first, second = on_ranks("patience", tmp_path, world=2)  # a rank that went by its own loss would not stop, or alone
    assert len(first["history"]) == len(second["history"]) == 3


def test_ranks_of_a_node_share_what_each_decoded_and_training_is_the_same_for_it(tmp_path: Path) -> None:
    for result in on_ranks("decoded once", tmp_path, world=2):
        read_anew, decoded_once = result["losses"]
        assert len(decoded_once) == 2  # the second epoch has no files to read
        assert decoded_once == read_anew


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_with_the_same_words(tmp_path: Path) -> None:
    first, second = on_ranks("infinite loss", tmp_path, world=2)
    assert first == second
    assert "epoch 2, iteration 2" in first["error"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_learns_what_the_cpu_learns(tmp_path: Path, precision: torch.dtype) -> None:
    options = {"epochs": 8, "learning_rate": 0.1}
    on_cpu = make_trainer(tmp_path / "cpu", ALONE, parameters(**options)).train()
    hardware = Hardware(torch.device("cuda", 0), precision, 1)
    on_gpu = make_trainer(tmp_path / "gpu", ALONE, parameters(**options), hardware=hardware).train()
    assert on_gpu.best.training.loss == pytest.approx(on_cpu.best.training.loss, abs=0.05)
    assert all(tensor.device.type == "cpu" for tensor in on_gpu.weights.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_a_network_draws_on_a_gpu_is_drawn_again_by_a_training_that_goes_on(tmp_path: Path) -> None:
    hardware = Hardware(torch.device("cuda", 0), torch.float32, 0)
    result = stopped_and_gone_on(tmp_path, ALONE, 9, draws=True, hardware=hardware)
    for name, weight in result["whole"]["weights"].items():  # other masks would move them by much more than a sum's order
        torch.testing.assert_close(result["gone on"]["weights"][name], weight, rtol=1e-3, atol=1e-4)
