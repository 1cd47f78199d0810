"""The pure parts of the benchmark on a GPU: what it makes of lines, traces and figures, before a GPU shows them for the first time."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu_page
from gpu_page import Steady, advice, bound, kernels_of, page, rate, table


def test_images_a_second_are_counted_over_epochs_and_only_in_the_second_half() -> None:
    slow = [(10.0 * number, f"epoch 1/9 iteration {number}/4 | loss 1") for number in range(1, 5)]
    fast = [(40.0 + number, f"epoch 2/9 iteration {number}/4 | loss 1") for number in range(1, 5)]
    assert rate([*slow, (40.5, "another line"), *fast], 16) == pytest.approx(16)


@pytest.mark.parametrize("lines", [[], [(1.0, "iteration 1/4")], [(1.0, "iteration 1/4"), (2.0, "iteration 2/4")]])
def test_too_few_lines_make_no_rate(lines: list[tuple[float, str]]) -> None:
    assert rate(lines, 16) == 0


def test_kernels_that_run_side_by_side_are_covered_once() -> None:
    def event(begin: float, duration: float, name: str, kind: str = "kernel") -> dict:
        return {"ts": begin, "dur": duration, "name": name, "cat": kind}

    lines = kernels_of(
        [event(0, 40, "conv"), event(20, 40, "norm"), event(80, 20, "conv"), event(0, 999, "aten::conv2d", "cpu_op")]
    )
    assert lines[0] == "Between its first and its last kernel the GPU did nothing for 20% of the time."
    assert lines[1:] == ["* 60% conv", "* 40% norm"]
    assert "try DESIGNER_VISION_COMPILE=1" in kernels_of([event(0, 1, "a"), event(9, 1, "b")])[1]
    assert kernels_of([]) == []


def test_a_gpu_is_bound_by_its_memory_where_that_is_known() -> None:
    assert bound("NVIDIA A100-SXM4-80GB") == pytest.approx(1.56e6 / 450)
    assert bound("NVIDIA H100 80GB HBM3") == pytest.approx(3.35e6 / 450)
    assert bound("Tesla T4") == pytest.approx(0.32e6 / 450)
    assert bound("NVIDIA GeForce RTX 4090") is None


def test_what_the_figures_say_is_told() -> None:
    runs = {"ours": Steady(500), "network alone": Steady(1000), "ours, images kept": Steady(900), "ours, compiled": Steady(600)}
    first, second = advice("resnet50:64", runs)
    assert "decoding is the wall" in first
    assert "DESIGNER_VISION_COMPILE=1 is 1.20 times as fast" in second
    assert "look at the trace" in advice("resnet50:64", runs | {"ours, images kept": Steady(510)})[0]
    assert advice("resnet50:64", {"ours": Steady(990), "network alone": Steady(1000)}) == []


def test_a_run_that_failed_is_a_row_and_no_ratio() -> None:
    results = [
        {"cell": "resnet50:64", "contender": "ours", "run": asdict(Steady(500, 9, 8, 9000, 0.9))},
        {"cell": "resnet50:64", "contender": "timm, best flags", "run": asdict(Steady(400))},
        {"cell": "resnet50:64", "contender": "plain script", "run": asdict(Steady(failed="out of memory"))},
    ]
    rows = table(results).splitlines()
    assert rows[2] == "| resnet50:64 | ours | 500 | 1.25 |  | 9 | 8.0 | 9000 | 90% |"
    assert rows[4].startswith("| resnet50:64 | plain script | out of memory |")
    assert {row.count("|") for row in rows} == {10}
    whole = page(results, ["verdict"], "NVIDIA A100-SXM4-40GB", 3)
    assert "bound at 3,467 images/s" in whole
    assert "3 runs are still missing" in whole


def test_every_cell_is_a_network_and_a_batch_size() -> None:
    assert len({*gpu_page.CELLS}) == 9
    assert all(cell.partition(":")[2].isdigit() for cell in gpu_page.CELLS)
