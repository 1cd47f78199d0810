"""What is refused of a sweep before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import RATES, write

from designer_vision.pipeline.checks import check
from designer_vision.runtime.errors import DesignerError

UNIFORM = {"type": "uniform", "min_value": 0, "max_value": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": None}, r"search\.search_space is missing; such as \{learning_rate"),
        ({"limits": None}, r"search\.limits is missing; such as \{max_total_trials: 12\}"),
        ({"objective": None}, r"search\.objective is missing"),
        (RATES | {"limits": {"timeout": 90}}, r"search\.limits\.max_total_trials is missing"),
        ({"limits": {"max_total_trials": 0}}, r"search\.limits\.max_total_trials is 0, it must not be below 1"),
        ({"limits": {"max_trials": 4}}, r"a limit of search\.limits is 'max_trials', expected one of max_total_trials"),
        ({"sampling_algorithm": "genetic"}, r"search\.sampling_algorithm is 'genetic', expected one of random, grid, bayesian"),
        ({"sampling_algorithm": None}, r"search\.sampling_algorithm is 'None', expected one of random"),
        ({"sampling_algorithm": {"type": "random", "seed": -1}}, r"sampling_algorithm\.seed is -1"),
        ({"sampling_algorithm": {"type": "grid", "seed": 1}}, r"a setting of search\.sampling_algorithm is 'seed'"),
        ({"search_space": {"rate": UNIFORM}}, r"search\.search_space\.rate is uniform, and a grid is made of `choice` only"),
        ({"search_space": {"rat": UNIFORM}}, r"the trial has no input 'rat'; it has course, rate, count$"),
        ({"search_space": {"before": UNIFORM}}, r"search_space\.before is a folder, and only parameters can be searched"),
        ({"search_space": {"rate": {"type": "choice", "values": [1, 11]}}}, r"search_space\.rate is 11\.0, it must be between 0 and 10"),
        ({"search_space": {"rate": {"type": "choice", "values": []}}}, r"search_space\.rate\.values is \[\], expected a list"),
        ({"search_space": {"rate": {"type": "choice", "values": [True]}}}, r"values has True, which Azure's client does not take; write 'True'"),
        ({"search_space": {"rate": {"type": "choice", "values": [{"a": 1}]}}}, r"values has \{'a': 1\}"),
        ({"search_space": {"rate": {"type": "choise"}}}, r"search_space\.rate\.type is 'choise', expected one of choice, randint"),
        ({"search_space": {"rate": 3}}, r"search_space\.rate is '3', expected such as"),
        ({"inputs": {"course": "1"}}, r"search: course stands in inputs and in search_space"),
        (RATES | {"search_space": {"rate": UNIFORM | {"max_value": 11}}}, r"search_space\.rate is 11\.0, it must be between 0 and 10"),
        (RATES | {"search_space": {"rate": UNIFORM | {"min_value": -1}}}, r"search_space\.rate is -1\.0"),
        (RATES | {"search_space": {"rate": UNIFORM | {"min_value": 3}}}, r"rate\.min_value is 3, above its max_value 2"),
        (RATES | {"search_space": {"rate": UNIFORM | {"max_value": "x"}}}, r"rate\.max_value is 'x', expected a number"),
        (RATES | {"search_space": {"rate": UNIFORM | {"q": 1}}}, r"an argument of search\.search_space\.rate is 'q'"),
        (RATES | {"search_space": {"rate": {"type": "loguniform", "min_value": 0.001, "max_value": 500}}}, r"exponent 500, too large"),
        (RATES | {"search_space": {"rate": {"type": "loguniform", "min_value": -9, "max_value": 3}}}, r"rate is 20\.08"),
        (RATES | {"search_space": {"count": UNIFORM}}, r"search_space\.count is '0\.0', expected a whole number"),
        (RATES | {"search_space": {"count": {"type": "randint", "upper": 9}}}, r"search_space\.count is 0, it must be between 1 and 64"),
        (RATES | {"search_space": {"rate": {"type": "normal", "mu": 1, "sigma": 0}}}, r"rate\.sigma is 0, it must be greater than 0"),
        (RATES | {"search_space": {"rate": {"type": "lognormal", "mu": 1, "sigma": 200}}}, r"rate has values beyond the greatest number"),
        (RATES | {"search_space": {"rate": UNIFORM | {"type": "quniform", "q": 1e-320}}}, r"rate has values beyond the greatest number"),
        (RATES | {"search_space": {"rate": UNIFORM | {"max_value": float("nan")}}}, r"rate\.max_value is 'nan', expected a number"),
        ({"objective": {"goal": "up", "primary_metric": "score"}}, r"search\.objective\.goal is 'up', expected one of maximize, minimize"),
        ({"objective": {"goal": "maximize"}}, r"search\.objective\.primary_metric is missing"),
        ({"early_termination": "bandit"}, r"search\.early_termination is 'bandit', expected such as"),
        ({"early_termination": {"type": "bandit"}}, r"needs either slack_factor or slack_amount"),
        ({"early_termination": {"type": "bandit", "slack_factor": 1, "slack_amount": 1}}, r"needs either"),
        ({"early_termination": {"type": "truncation_selection"}}, r"truncation_percentage is 'None', expected a number"),
        ({"early_termination": {"type": "median_stopping", "slack_factor": 1}}, r"a setting of search\.early_termination is 'slack_factor'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sweep_is_told_with_its_place(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(DesignerError, match=message):
        check(write(tmp_path, **changes), {})


def test_what_is_searched_cannot_be_given(tmp_path: Path) -> None:
    with pytest.raises(DesignerError, match=r"--input search\.course gives a value for what is searched"):
        check(write(tmp_path), {"search.course": "1"})


def test_bayesian_sampling_is_remarked_on_as_azures_is_another(tmp_path: Path) -> None:
    (remark,) = check(write(tmp_path, **RATES | {"sampling_algorithm": "bayesian"}), {})
    assert remark.startswith("search samples by Optuna's TPE")
