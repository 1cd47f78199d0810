"""The page of the accuracy benchmark: what chooses a rate, what is paired, and what is told where runs are missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from accuracy_page import (
    TARGETS,
    Cell,
    Result,
    any_rate_table,
    at_best_rate,
    best_rate,
    beyond,
    difference,
    errors_table,
    page,
    rates_table,
    read,
    table,
    verdict,
)

OURS = Cell("ours", "stamps", 400, 5, 0.01, 1)


def result(cell: Cell, top1: float, validation: float = 0.5) -> Result:
    return Result(cell, top1, validation, 20.0, [0.1, 0.02] if cell.program == "ours" else None)


def test_the_rate_is_chosen_by_validation_and_never_by_what_is_held_out() -> None:
    results = [result(OURS, 0.9, validation=0.6), result(replace(OURS, rate=0.03), 0.7, validation=0.8)]
    assert best_rate(results, replace(OURS, rate=0, seed=2)) == 0.03
    assert [one.top1 for one in at_best_rate(results)] == [0.7]


def test_over_the_rates_tried_first_programs_are_compared_rate_by_rate() -> None:
    plain = replace(OURS, program="plain")
    results = [result(OURS, 0.5), result(replace(OURS, rate=0.03), 0.7), result(replace(OURS, rate=0.003), 0.1)]
    results += [result(plain, 0.4), result(replace(plain, rate=0.03), 0.4)]
    rows = any_rate_table(results).splitlines()
    assert rows[2] == "| ours | 60.0 (2) | – |"
    assert "| plain | 40.0 (2); ours +20.0 ± 10.0 | – |" in rows


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
    assert "| ours | 60.0 (1) | – |" in shown
    assert "| plain | – | 50.0 (1) |" in shown
    assert "| ours minus plain | – | – |" in shown


def test_the_page_has_every_run_and_is_there_without_any() -> None:
    assert page([], "", "make", 9).count("# ") > 3
    assert "9 runs are still missing" in page([], "", "make", 9)
    results = [
        result(OURS, 0.6),
        result(replace(OURS, program="plain"), 0.5),
        result(replace(OURS, source="clipart", images=50), 0.4),
    ]
    whole = page(results, "* Hardware: one", "make bench-accuracy-short", 0)
    assert "still missing" not in whole
    assert "`make bench-accuracy-short`; 3 runs" in whole
    assert whole.count('"top1"') == 3
    assert "fine-tuned, 50 images" in whole
    shown = errors_table(results)
    assert "| from scratch, 5 epochs | 10.0 % | 2.0 % | 1 |" in shown
    assert "| stamps, all runs | 10.0 % | 2.0 % | 2 |" in shown


def test_a_rate_at_which_a_training_failed_is_not_chosen_and_its_run_counts_nowhere() -> None:
    broken = Result(replace(OURS, rate=0.1, set="fashion", images=500), failed="the loss is not finite")
    results = [result(OURS, 0.5, 0.6), result(replace(OURS, rate=0.1), 0.9, 0.9), broken]
    results += [result(replace(OURS, set="fashion", images=500), 0.5, 0.6)]
    assert best_rate(results, OURS) == 0.01
    assert broken not in at_best_rate(results)
    assert best_rate([broken], OURS) is None
    assert "0.1: failed" in rates_table(results)
    assert "the loss is not finite" in page(results, "", "make", 0)


def test_a_rate_at_the_edge_of_those_tried_is_said_to_be_there() -> None:
    lower, best, higher = (result(replace(OURS, rate=rate), 0.5, top1) for rate, top1 in ((0.01, 0.5), (0.03, 0.7), (0.1, 0.6)))
    assert "| between others |" in rates_table([lower, best, higher])
    assert "a higher one may be better" in rates_table([lower, best])
    assert "a lower one may be better" in rates_table([best, higher])


def test_where_the_best_rate_is_at_the_edge_the_next_one_is_tried_on_all_that_the_others_were_tried_on() -> None:
    other = replace(OURS, set="fashion", images=500)
    first = [replace(cell, rate=rate) for cell in (OURS, other) for rate in (0.01, 0.03, 0.1)]
    results = [result(cell, 0.5, 0.5 - cell.rate) for cell in first]
    more = beyond(results, first)
    assert more == [replace(OURS, rate=0.003), replace(other, rate=0.003)]
    half_done = [*results, result(more[0], 0.5, 0.9)]
    assert best_rate(half_done, OURS) == 0.01
    assert beyond(half_done, first) == more
    done = [*half_done, result(more[1], 0.5, 0.1)]
    assert best_rate(done, OURS) == 0.003
    assert beyond(done, [*first, *more]) == [replace(cell, rate=0.001) for cell in (OURS, other)]
    assert beyond([result(cell, 0.5, 0.9 if cell.rate == 0.03 else 0.1) for cell in first], first) == []


def test_unseen_sets_choose_no_rate_and_have_columns_of_their_own() -> None:
    unseen = replace(OURS, set="fashion_unseen", images=500)
    results = [result(OURS, 0.5, 0.6), result(replace(OURS, rate=0.03), 0.5, 0.5), result(replace(unseen, rate=0.03), 0.9, 0.99)]
    assert best_rate(results, unseen) == 0.01
    assert unseen.kind == "unseen sets, from scratch"
    assert replace(unseen, source="clipart", images=50).kind == "unseen sets, fine-tuned, 50 images"


def test_a_target_is_held_against_the_better_program_and_against_every_set() -> None:
    def runs(program: str, stamps: float, fashion: float) -> list[Result]:
        cells = [replace(OURS, program=program, seed=seed) for seed in (1, 2)]
        return [result(cell, stamps + 0.001 * cell.seed) for cell in cells] + [
            result(replace(cell, set="fashion", images=500), fashion) for cell in cells
        ]

    target = TARGETS[0]
    ours, plain, mild = runs("ours", 0.7, 0.7), runs("plain", 0.6, 0.6), runs("timm mild", 0.65, 0.65)
    assert verdict([*ours, *plain, *mild], target) == "reached: +5.0 ± 0.0 (4) beside timm mild"
    assert verdict([*ours, *plain, *runs("timm mild", 0.65, 0.72)], target) == (
        "missed: +1.5 ± 2.0 (4) beside timm mild; worse on fashion -2.0 ± 0.0"
    )
    assert verdict([*ours, *plain, *runs("timm mild", 0.695, 0.695)], target).startswith("missed: +0.5")
    assert verdict([*ours, *plain], target) == "–"
    assert verdict([*ours[:3], *plain, *mild], target).startswith("open: +5.0")


def test_of_several_lines_for_one_run_the_last_counts_and_old_lines_are_read() -> None:
    line = '{"cell": {"program": "ours", "set": "stamps", "images": 400, "epochs": 5, "rate": 0.01, "seed": 1, "source": ""}, '
    old = line + '"top1": 0.5, "validation": 0.4, "seconds": 9.0, "errors": [0.1, 0.2]}'
    new = line + '"top1": 0.6, "validation": 0.4, "seconds": 9.0, "commit": "1234567"}'
    assert [(one.top1, one.commit) for one in read([old])] == [(0.5, "")]
    assert [(one.cell, one.top1) for one in read([old, new])] == [(OURS, 0.6)]
    whole = page(read([new]), "", "make", 0)
    assert "Ours is of commit 1234567 (1 runs)" in whole
