"""The page of the accuracy benchmark: what chooses a rate, what is paired, and what is told where runs are missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from accuracy_page import Cell, Result, at_best_rate, best_rate, difference, errors_table, page, table

OURS = Cell("ours", "stamps", 400, 5, 0.01, 1)


def result(cell: Cell, top1: float, validation: float = 0.5) -> Result:
    return Result(cell, top1, validation, 20.0, [0.1, 0.02] if cell.program == "ours" else None)


def test_the_rate_is_chosen_by_validation_and_never_by_what_is_held_out() -> None:
    results = [result(OURS, 0.9, validation=0.6), result(replace(OURS, rate=0.03), 0.7, validation=0.8)]
    assert best_rate(results, replace(OURS, rate=0, seed=2)) == 0.03
    assert [one.top1 for one in at_best_rate(results)] == [0.7]


def test_a_rate_counts_only_with_the_tasks_that_all_rates_did() -> None:
    other = replace(OURS, set="fashion", images=500)
    results = [result(OURS, 0.5, 0.6), result(replace(OURS, rate=0.03), 0.5, 0.5), result(replace(other, rate=0.03), 0.9, 0.99)]
    assert best_rate(results, OURS) == 0.01


def test_later_seeds_and_other_programs_do_not_choose() -> None:
    results = [
        result(OURS, 0.5, 0.6),
        result(replace(OURS, rate=0.03), 0.5, 0.5),
        result(replace(OURS, rate=0.03, seed=2), 0.5, 0.9),
        result(replace(OURS, rate=0.03, program="plain"), 0.5, 0.9),
    ]
    assert best_rate(results, OURS) == 0.01
    assert best_rate(results, replace(OURS, program="ours, 2 processes")) == 0.01
    assert best_rate(results, replace(OURS, source="clipart")) is None


def test_programs_are_compared_on_the_tasks_that_both_did_each_at_its_own_rate() -> None:
    ours = [result(replace(OURS, seed=seed), top1) for seed, top1 in ((1, 0.6), (2, 0.7), (3, 0.9))]
    plain = [result(replace(OURS, program="plain", rate=0.03, seed=seed), top1) for seed, top1 in ((1, 0.5), (2, 0.64))]
    mean, error, pairs = difference(ours, plain) or (0, 0, 0)
    assert (mean, pairs) == (pytest.approx(8), 2)
    assert error == pytest.approx(2)  # of 10 and 6: a standard deviation of 2.83 over the root of 2
    assert difference(ours, plain[:1]) is None


def test_what_is_missing_is_a_dash() -> None:
    results = [result(OURS, 0.6), result(replace(OURS, program="plain", set="fashion", images=500), 0.5)]
    shown = table(results, lambda cell: cell.set)
    assert "| ours | 60.0 | – |" in shown
    assert "| plain | – | 50.0 |" in shown
    assert "| ours minus plain | – | – |" in shown


def test_the_page_has_every_run_and_is_there_without_any() -> None:
    assert page([], "").count("# ") > 3
    results = [
        result(OURS, 0.6),
        result(replace(OURS, program="plain"), 0.5),
        result(replace(OURS, source="clipart", images=50), 0.4),
    ]
    whole = page(results, "* Hardware: one")
    assert whole.count('"top1"') == 3
    assert "fine-tuned, 50 images" in whole
    assert "| from scratch, 5 epochs | 10.0 % | 2.0 % | 1 |" in errors_table(results)
