"""What a sweep's YAML means, what is drawn, and which trials are ended and the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sweeps import RATES, SWEEP

from designer_vision.pipeline.early_termination import Policy
from designer_vision.pipeline.sampling import propose
from designer_vision.pipeline.sweep import Objective, Standing, Sweep, Trial, read_distribution, read_sweep
from designer_vision.pipeline.sweep_page import PAGE, write_page


def sweep_of(**changes: Any) -> Sweep:
    return read_sweep(SWEEP | changes, lambda written, place: int(written))


@pytest.mark.parametrize(
    ("written", "drawn", "text"),
    [
        ({"type": "uniform", "min_value": 1, "max_value": 3}, 2.5, "2.5"),
        ({"type": "loguniform", "min_value": -9.2, "max_value": -2.3}, -3.0, str(math.exp(-3.0))),
        ({"type": "quniform", "min_value": 16, "max_value": 64, "q": 16}, 39.9, "32"),
        ({"type": "quniform", "min_value": 0, "max_value": 1, "q": 0.1}, 0.31, "0.3"),
        ({"type": "qloguniform", "min_value": 0, "max_value": 5, "q": 2}, 3.0, "20"),
        ({"type": "normal", "mu": 5, "sigma": 2}, 0.5, "5.0"),
        ({"type": "lognormal", "mu": 0, "sigma": 1}, 0.5, "1.0"),
        ({"type": "qnormal", "mu": 5.2, "sigma": 1, "q": 2}, 0.5, "6"),
        ({"type": "randint", "upper": 4}, 3.0, "3"),
        ({"type": "choice", "values": ["a", 16, 0.5]}, 2.0, "0.5"),
        ({"type": "Choice", "values": ["a", 16, 0.5]}, 2.0, "0.5"),
    ],
)
def test_a_value_is_what_azures_distribution_makes_of_it(written: dict, drawn: float, text: str) -> None:
    assert read_distribution(written).value(drawn, math.e) == text


def test_the_base_of_logarithms_is_e_unless_another_is_given() -> None:
    space = {"rate": {"type": "loguniform", "min_value": -2, "max_value": -2}}
    for settings, text in (("random", math.exp(-2)), ({"type": "random", "logbase": 10}, 0.01)):
        sweep = sweep_of(search_space=space, sampling_algorithm=settings)
        assert sweep.texts(propose(sweep, []) or {}) == {"rate": str(text)}


@pytest.mark.parametrize("algorithm", ["random", "bayesian", {"type": "random", "rule": "sobol", "seed": 5}])
def test_a_proposal_depends_on_the_seed_and_on_what_was_before_only(algorithm: Any) -> None:
    space = RATES["search_space"] | {"course": SWEEP["search_space"]["course"], "count": {"type": "randint", "upper": 9}}
    sweep = sweep_of(search_space=space, sampling_algorithm=algorithm, limits={"max_total_trials": 15})
    before: list[tuple[Mapping[str, float], float | None]] = []
    for number in range(15):
        drawn = propose(sweep, before)
        assert drawn is not None
        assert propose(sweep, list(before)) == drawn
        assert 0 <= drawn["rate"] <= 2
        before.append((drawn, -abs(drawn["rate"] - 1.5) if number % 5 else None))
    assert len({sweep.texts(drawn)["rate"] for drawn, _ in before}) == 15


def test_a_bayesian_sampler_comes_closer_to_what_was_good() -> None:
    sweep = sweep_of(**RATES | {"sampling_algorithm": "bayesian", "limits": {"max_total_trials": 40}})
    before: list[tuple[Mapping[str, float], float | None]] = []
    for _ in range(40):
        drawn = propose(sweep, before) or {}
        before.append((drawn, -abs(drawn["rate"] - 1.5)))
    distances = [abs(drawn["rate"] - 1.5) for drawn, _ in before]
    assert median(distances[-20:]) < median(distances[:10]) / 2


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "grid"])
def test_no_two_trials_have_the_same_values_and_a_small_space_ends_the_sweep(algorithm: str) -> None:
    space = {"course": {"type": "choice", "values": ["a", "b"]}, "count": {"type": "choice", "values": [1, 2]}}
    sweep = sweep_of(search_space=space, sampling_algorithm=algorithm, limits={"max_total_trials": 9})
    assert sweep.total == 4
    before: list[tuple[Mapping[str, float], float | None]] = []
    while len(before) < sweep.total:
        before.append((propose(sweep, before) or {}, 1.0))
    texts = [tuple(sweep.texts(drawn).values()) for drawn, _ in before]
    assert sorted(texts) == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert algorithm != "grid" or texts == sorted(texts)


# What is compared


@pytest.mark.parametrize(
    ("policy", "own", "others", "interval"),
    [
        # running averages over 1:2 are 1.5, 5.5 and 4; their median is 4
        (Policy("median_stopping", delay=2), [1, 2], [[5, 6, 7], [6, 2]], 2),
        (Policy("median_stopping", delay=2), [6, 2], [[5, 6, 7], [1, 2]], None),
        (Policy("median_stopping"), [1, 9], [[5, 6]], 1),  # 1 is below 3, the median of 1 and 5
        (Policy("median_stopping"), [1, 2], [], None),
        (Policy("median_stopping", interval=2), [1, 9, 0], [[5, 6]], None),  # looked at once, when its best was 9
        (Policy("median_stopping"), [-math.inf, 2], [[1, 1], [1, 1]], 1),  # its first value was no number
        (Policy("bandit", slack_amount=1), [4.5, 4.9], [[5, 6, 7]], 2),  # 4.5 is within 1 of 5, 4.9 not of 6
        (Policy("bandit", slack_factor=0.2), [0.66, 0.67], [[0.8, 0.8]], 1),  # 0.8 / 1.2 is 0.667
        (Policy("bandit", slack_factor=0.2), [0.67], [[0.8]], None),
        (Policy("bandit", slack_factor=0.2), [-0.5], [[-0.4]], 1),  # a loss of 0.5, and 0.4 * 1.2 is 0.48
        (Policy("bandit", slack_factor=0.2), [-0.47], [[-0.4]], None),
        (Policy("truncation_selection", percentage=20), [2], [[1], [3], [4], [5]], None),  # one of five is cut
        (Policy("truncation_selection", percentage=40), [2], [[1], [3], [4], [5]], 1),
        (Policy("truncation_selection", percentage=20), [1], [[3], [4], [5]], None),  # a fifth of four is none
        (Policy("truncation_selection", percentage=20), [1], [[1], [1], [1], [1]], None),  # all are equal
        (Policy("bandit", slack_amount=1, delay=3), [0, 0], [[9, 9]], None),
    ],
)  # fmt: skip
def test_a_policy_ends_a_trial_at_the_interval_that_its_definition_says(
    policy: Policy, own: list[float], others: list[list[float]], interval: int | None
) -> None:
    assert policy.ends_at(own, others) == interval


def test_the_best_is_a_finished_trial_and_a_value_that_is_no_number_is_none() -> None:
    ended = [
        Trial(1, {}, "finished", (0.5, math.nan)),
        Trial(2, {}, "stopped", (0.1,)),
        Trial(3, {}, "finished", (math.nan,)),
        Trial(4, {}, "failed", (0.0,)),
        Trial(5, {}, "finished", (0.6, 0.4, 0.9)),
    ]
    standing = Standing(Objective("loss", maximize=False), 5, tuple(ended))
    assert standing.best == ended[4]
    assert [trial.number for trial in standing.ranked()] == [5, 1, 3, 2, 4]


# What is shown


def test_hostile_names_forge_nothing_in_the_page(tmp_path: Path) -> None:
    name = "<script>x</script>\n"
    ended = Trial(1, {name: "<b>$x$</b>"}, "finished", (1.0,)), Trial(2, {name: "2"}, "failed", (), 0.0, "<i>why</i>")
    write_page(tmp_path, "<u>", Standing(Objective("<p>", maximize=True), 2, ended))
    page = (tmp_path / PAGE).read_text()
    for tag in ("<script>", "<b>$", "<i>", "<u>", "<p>&", "\n</script>"):
        assert tag not in page
    assert "&lt;script&gt;x&lt;/script&gt;\\n" in page
