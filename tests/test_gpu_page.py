"""The parts of the benchmark on a GPU that need none: what it makes of lines, traces and figures, and what it trains on."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu_page
from gpu_data import TIMES, photos_for, times_for, training_for, waiting_in
from gpu_page import Steady, advice, bound, is_done, kernels_of, order, page, rate, reason_of, table, waiting_of

from designer_vision.components.convert_to_image_directory import main as convert
from designer_vision.formats.image_directory import read_image_directory

LINES = [(10.0 * number, f"epoch 1/9 iteration {number}/4 | loss 1 waited {number}.5") for number in range(1, 5)]


def test_images_a_second_are_counted_over_epochs_and_only_in_the_second_half() -> None:
    fast = [(40.0 + number, f"epoch 2/9 iteration {number}/4 | loss 1") for number in range(1, 5)]
    assert rate([*LINES, (40.5, "another line"), *fast], 16) == pytest.approx(16)


@pytest.mark.parametrize("lines", [[], [(1.0, "iteration 1/4")], [(1.0, "iteration 1/4"), (2.0, "iteration 2/4")]])
def test_too_few_lines_make_no_rate(lines: list[tuple[float, str]]) -> None:
    assert rate(lines, 16) == 0
    assert waiting_of(lines) is None


def test_the_waiting_of_peers_is_that_between_two_of_their_lines() -> None:
    assert waiting_of(LINES) == pytest.approx(0.1)
    assert waiting_of([(at, line.partition("waited")[0]) for at, line in LINES]) is None


def test_our_waiting_is_what_mlflow_was_told_of_whole_epochs(tmp_path: Path) -> None:
    assert waiting_in(tmp_path / "mlflow.db", 0) is None
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("create table metrics (key text, value real, step integer)")
        assert waiting_in(tmp_path / "mlflow.db", 0) is None
        spent = {1: (8, 2), 2: (1, 4), 3: (1, 4)}
        for step, (waiting, computing) in spent.items():
            for name, value in (("Seconds waiting for images", waiting), ("Seconds computing", computing), ("Valid loss", 99)):
                connection.execute("insert into metrics values (?, ?, ?)", (name, value, step))
        connection.commit()
    assert waiting_in(tmp_path / "mlflow.db", 0) == pytest.approx(0.5)
    assert waiting_in(tmp_path / "mlflow.db", 1) == pytest.approx(0.2)


def test_kernels_that_run_side_by_side_are_covered_once() -> None:
    def event(begin: float, duration: float, name: str, kind: str = "kernel") -> dict:
        return {"ts": begin, "dur": duration, "name": name, "cat": kind}

    lines = kernels_of(
        [event(0, 40, "conv"), event(20, 40, "norm"), event(80, 20, "conv"), event(0, 999, "aten::conv2d", "cpu_op")]
    )
    assert lines == [
        "Between its first and its last kernel the GPU did nothing for 20% of the time.",
        "",
        "* 60% `conv`",
        "* 40% `norm`",
    ]
    assert "try DESIGNER_VISION_COMPILE=1" in kernels_of([event(0, 1, "a"), event(9, 1, "b")])[1]
    assert len(kernels_of([event(number, 1, f"kernel {number}") for number in range(20)])) == 2 + 10
    assert kernels_of([]) == []


def test_a_gpu_is_bound_by_its_memory_where_that_is_known() -> None:
    assert bound("NVIDIA A100-SXM4-40GB", "resnet50") == pytest.approx(1.56e6 / 467)
    assert bound("NVIDIA A100-SXM4-80GB", "resnet50") == bound("NVIDIA A100 80GB PCIe", "resnet50") == pytest.approx(2.04e6 / 467)
    assert bound("NVIDIA H100 80GB HBM3", "resnet18") == pytest.approx(3.35e6 / 104)
    assert bound("NVIDIA H100 PCIe", "resnet50") == pytest.approx(2e6 / 467)
    assert bound("Tesla T4", "resnet50") == pytest.approx(0.32e6 / 467)
    for gpu in ("NVIDIA GeForce RTX 4090", "NVIDIA A10G", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"):
        assert bound(gpu, "resnet50") is None
    assert bound("Tesla T4", "densenet121") is None


def test_what_the_figures_say_is_told() -> None:
    runs = {"ours": Steady(500, waiting=0.4), "network alone": Steady(1000), "ours, images kept": Steady(900)}
    (said,) = advice("resnet50:64", runs)
    assert "40% of the time goes by waiting for images" in said
    assert "1.80 times as fast" in said
    assert advice("resnet50:64", {"ours": Steady(990, waiting=0.01), "network alone": Steady(1000)}) == []
    assert "look at the trace" in advice("resnet50:64", runs | {"ours": Steady(500, waiting=0.01)})[0]
    assert "look at the trace" in advice("resnet50:64", runs | {"ours": Steady(500)})[0]
    (said,) = advice("resnet50:64", {"ours": Steady(500), "ours, compiled": Steady(600)})
    assert "DESIGNER_VISION_COMPILE=1 is 1.20 times as fast" in said
    (said,) = advice("resnet50:64", {"ours": Steady(500), "timm, best flags": Steady(600)})
    assert "timm is 1.20 times as fast" in said
    (said,) = advice("resnet50:256", {"ours": Steady(failed="out of memory"), "network alone": Steady(9)})
    assert said == "* resnet50:256: ours: out of memory, a smaller batch_size is needed."


def test_a_run_that_failed_is_a_row_and_no_ratio() -> None:
    results = [
        {"cell": "resnet50:64", "contender": "ours", "run": asdict(Steady(500, 9, 8, 9000, 0.9, 0.25))},
        {"cell": "resnet50:64", "contender": "timm, best flags", "run": asdict(Steady(400))},
        {"cell": "resnet50:64", "contender": "plain script", "run": asdict(Steady(failed="out of memory"))},
        {"cell": "resnet50:64", "contender": "traced", "said": ["a verdict"], "failed": False},
    ]
    rows = table(results, "NVIDIA A100-SXM4-40GB").splitlines()
    assert rows[2] == "| resnet50:64 | ours | 500 | 1.25 |  | 15% | 25% | 9 | 8.0 | 9000 | 90% |"
    assert rows[4].startswith("| resnet50:64 | plain script | out of memory |")
    assert {row.count("|") for row in rows} == {12}
    whole = page(results, ["a verdict"], "NVIDIA A100-SXM4-40GB", 3)
    assert "resnet50 at 3,340 images/s" in whole
    assert "3 runs are still missing" in whole
    assert "\na verdict\n" in whole
    assert "Bound there" not in page(results, [], "an unknown GPU", 0)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out of memory"),
        ("Error 0138: ModuleOutOfMemoryError: cuDNN has no workspace; choose a smaller batch_size", "out of memory"),
        ("ValueError: int | None", "ValueError: int / None"),
    ],
)
def test_why_a_run_failed_is_its_last_line_or_that_memory_was_short(last: str, reason: str) -> None:
    assert reason_of([(1, "Traceback"), (2, last), (3, "")]) == reason
    assert reason_of([]) == "it said nothing"


def test_only_what_failed_is_made_again_and_memory_that_was_short_stays_short() -> None:
    assert is_done({"run": asdict(Steady(500))})
    assert is_done({"run": asdict(Steady(failed="out of memory"))})
    assert not is_done({"run": asdict(Steady(failed="nvcc is missing"))})
    assert is_done({"said": ["a verdict"], "failed": False})
    assert not is_done({"said": ["The traced training failed"], "failed": True})


def test_the_first_cell_is_measured_whole_and_every_cell_with_the_most_telling_runs_before_the_others() -> None:
    runs = order(gpu_page.CELLS, gpu_page.CONTENDERS)
    assert len(runs) == len({*runs}) == 9 * 9
    assert runs[:9] == [(gpu_page.CELLS[0], contender) for contender in gpu_page.CONTENDERS]
    telling = 9 + 8 * len(gpu_page.TELLING)
    assert {cell for cell, _ in runs[9:telling]} == {*gpu_page.CELLS[1:]}
    assert {contender for _, contender in runs[9:telling]} == {*gpu_page.TELLING}
    assert all(contender not in gpu_page.TELLING for _, contender in runs[telling:])
    for cell in gpu_page.CELLS:  # an epoch's length goes by its speed
        assert next(contender for place, contender in runs if place == cell) == "network alone"


def test_a_photo_is_in_an_epoch_as_often_as_is_needed_up_to_a_limit() -> None:
    assert [times_for(wanted) for wanted in (0, 0.1, 1, 1.1, 20, 10**6)] == [8, 1, 1, 2, 32, TIMES[-1]]


def test_what_is_trained_on_has_each_photo_several_times_and_can_be_read(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(path)
    convert(tmp_path / "photos", tmp_path / "training")
    assert len([*photos_for(tmp_path, 2).glob("*/*.jpg")]) == 8
    once, thrice = (read_image_directory(folder) for folder in (tmp_path / "training", training_for(tmp_path, 3)))
    assert (len(once), len(thrice)) == (4, 12)
    assert [thrice.read(row) for row in range(12)] == [once.read(row) for row in range(4)] * 3
    assert training_for(tmp_path, 3) == tmp_path / "training_3"
