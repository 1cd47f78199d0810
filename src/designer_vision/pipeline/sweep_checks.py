"""What is wrong with a sweep, known before the first step: Azure's client checks neither the trial's ranges nor a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from designer_vision.pipeline.early_termination import BANDIT, MEDIAN, TRUNCATION
from designer_vision.pipeline.sweep import (
    ARGUMENTS,
    BAYESIAN,
    GRID,
    NORMAL,
    RANDOM,
    SOBOL,
    read_distribution,
    read_sampling,
)
from designer_vision.runtime import values
from designer_vision.runtime.errors import PipelineError

LIMITS = ("max_total_trials", "max_concurrent_trials", "timeout", "trial_timeout")
POLICIES = {
    BANDIT: ("evaluation_interval", "delay_evaluation", "slack_factor", "slack_amount"),
    MEDIAN: ("evaluation_interval", "delay_evaluation"),
    TRUNCATION: ("evaluation_interval", "delay_evaluation", "truncation_percentage"),
}
Declared = Mapping[str, Mapping[str, Any]]


def check_sweep(name: str, job: Mapping[str, Any], declared: Declared, overrides: Mapping[str, str]) -> list[str]:
    """Check a step that is a sweep; any other is all right.

    Args:
        name: of the step.
        job: the step, as its YAML has it.
        declared: the inputs of its trial, as the component has them.
        overrides: values that the person gives for inputs of the pipeline or of steps.

    Returns:
        What is allowed and may not be meant, a sentence each.

    Raises:
        DesignerError: the first thing that is wrong, with its place.
    """
    if job.get("type") != "sweep":
        return []
    if find_spec("optuna") is None:
        raise PipelineError(f'{name} is a sweep, which needs Optuna here; install it with pip install "designer_vision[azure]"')
    space, limits = _block(name, job, "search_space"), _block(name, job, "limits")
    check_sampling(f"{name}.sampling_algorithm", job.get("sampling_algorithm"))
    sampling = read_sampling(job.get("sampling_algorithm"))
    for parameter, written in space.items():
        place = f"{name}.search_space.{parameter}"
        check_parameter(place, str(parameter), declared)
        given = job.get("inputs")
        if parameter in (given if isinstance(given, dict) else {}):
            raise PipelineError(f"{name}: {parameter} stands in inputs and in search_space; leave it out of one of them")
        if f"{name}.{parameter}" in overrides:
            raise PipelineError(f"--input {name}.{parameter} gives a value for what is searched; take it out of search_space")
        check_distribution(place, written, sampling.algorithm)
        distribution = read_distribution(written)
        try:
            ends = list(distribution.ends(sampling.base))
            for drawn in distribution.bounds if distribution.kind in NORMAL else ():  # tails may be beyond the component's range
                distribution.value(drawn, sampling.base)
        except OverflowError as error:
            raise PipelineError(f"{place} has values beyond the greatest number that there is") from error
        for text in ends:
            values.check_declared(place, text, declared[str(parameter)])
    objective = _block(name, job, "objective")
    _one_of(f"{name}.objective.goal", objective.get("goal"), ("maximize", "minimize"))
    if not isinstance(objective.get("primary_metric"), str):
        raise PipelineError(f"{name}.objective.primary_metric is missing; give the name of a metric that the trial logs")
    check_limits(f"{name}.limits", limits, sampling.algorithm)
    check_policy(f"{name}.early_termination", job.get("early_termination"))
    return list(_remarks(name, sampling.algorithm))


def _remarks(name: str, algorithm: str) -> Iterator[str]:
    if algorithm == BAYESIAN:
        yield f"{name} samples by Optuna's TPE, which is Bayesian too but not what Azure ML runs: other trials are tried there"


def _block(name: str, job: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    examples = {
        "search_space": "{learning_rate: {type: loguniform, min_value: -9.2, max_value: -2.3}}",
        "limits": "{max_total_trials: 12}",
        "objective": "{goal: maximize, primary_metric: Top-1 validation accuracy}",
    }
    written = job.get(key)
    if not isinstance(written, dict) or not written:
        raise PipelineError(f"{name}.{key} is {'missing' if written is None else repr(written)[:100]}; such as {examples[key]}")
    return written


def _one_of(place: str, written: Any, choices: tuple[str, ...]) -> str:
    values.check_choice(place, str(written).lower() if isinstance(written, str) else str(written), choices)
    return str(written).lower()


def _number(place: str, written: Any, least: float | None = None, most: float | None = None) -> float:
    if isinstance(written, bool) or not isinstance(written, (int, float)) or not math.isfinite(written):
        raise PipelineError(f"{place} is {str(written)[:100]!r}, expected a number")
    values.check_range(place, written, least, most)
    return float(written)


def check_sampling(place: str, written: Any) -> None:
    """Refuse a sampling algorithm that there is not, and settings of it that are none.

    Raises:
        DesignerError: with those that there are.
    """
    settings = written if isinstance(written, dict) else {"type": written}
    algorithm = _one_of(place, settings.get("type"), (RANDOM, GRID, BAYESIAN))
    known = {RANDOM: ("type", "seed", "rule", "logbase")}.get(algorithm, ("type",))
    for name in settings:
        values.check_choice(f"a setting of {place}", str(name), known)
    if "rule" in settings:
        _one_of(f"{place}.rule", settings["rule"], (RANDOM, SOBOL))
    if "seed" in settings:
        values.check_range(f"{place}.seed", values.integer(f"{place}.seed", str(settings["seed"])), 0, 2**63 - 1)
    if settings.get("logbase", "e") != "e":
        values.check_range(f"{place}.logbase", values.number(f"{place}.logbase", str(settings["logbase"])), 1 + 1e-9, None)


def check_parameter(place: str, parameter: str, declared: Declared) -> None:
    """Refuse what the trial has no input for, and folders.

    Raises:
        PipelineError: with the parameters that there are.
    """
    parameters = [name for name, entry in declared.items() if not str(entry.get("type")).startswith("uri_")]
    if parameter not in declared:
        raise PipelineError(f"{place}: the trial has no input {parameter!r}; it has {', '.join(parameters) or 'no parameters'}")
    if parameter not in parameters:
        raise PipelineError(f"{place} is a folder, and only parameters can be searched: {', '.join(parameters) or 'it has none'}")


def check_distribution(place: str, written: Any, algorithm: str) -> None:
    """Refuse a distribution that is none, or that a grid cannot be made of.

    Raises:
        DesignerError: with its place.
    """
    if not isinstance(written, dict):
        raise PipelineError(f"{place} is {str(written)[:100]!r}, expected such as {{type: choice, values: [16, 32]}}")
    kind = _one_of(f"{place}.type", written.get("type"), tuple(ARGUMENTS))
    if algorithm == GRID and kind != "choice":
        raise PipelineError(f"{place} is {kind}, and a grid is made of `choice` only; list the values, or sample at random")
    for argument in written:
        values.check_choice(f"an argument of {place}", str(argument), ("type", *ARGUMENTS[kind]))
    if kind == "choice":
        choices = written.get("values")
        if not isinstance(choices, list) or not choices:
            raise PipelineError(f"{place}.values is {str(choices)[:100]}, expected a list such as [16, 32]")
        for choice in choices:
            if isinstance(choice, bool) or not isinstance(choice, (int, float, str)):
                advice = f"; write {str(choice)!r} in quotes" if isinstance(choice, bool) else ", expected numbers and texts"
                raise PipelineError(f"{place}.values has {str(choice)[:100]}, which Azure's client does not take{advice}")
        return
    numbers = {argument: _number(f"{place}.{argument}", written.get(argument)) for argument in ARGUMENTS[kind]}
    if kind == "randint":
        values.check_range(f"{place}.upper", values.integer(f"{place}.upper", str(written["upper"])), 1, None)
    if kind in NORMAL and numbers["sigma"] <= 0:
        raise PipelineError(f"{place}.sigma is {numbers['sigma']:g}, it must be greater than 0")
    if numbers.get("q", 1.0) <= 0:
        raise PipelineError(f"{place}.q is {numbers['q']:g}, it must be greater than 0")
    if "min_value" in numbers and numbers["min_value"] > numbers["max_value"]:
        raise PipelineError(f"{place}.min_value is {numbers['min_value']:g}, above its max_value {numbers['max_value']:g}")
    highest = max(abs(numbers.get("min_value", 0)), abs(numbers.get("max_value", 0)), abs(numbers.get("mu", 0)))
    if "log" in kind and highest > MOST_EXPONENT:
        raise PipelineError(f"{place} has the exponent {highest:g}, too large; {kind} takes logarithms, such as -9.2 for 0.0001")


MOST_EXPONENT = 100
"""Of any base up to 10: a float ends at 10 to the 308th."""


def check_limits(place: str, limits: Mapping[str, Any], algorithm: str) -> None:
    """Refuse limits that are none; all but a grid need a number of trials.

    Raises:
        DesignerError: with its place.
    """
    for name, written in limits.items():
        values.check_choice(f"a limit of {place}", str(name), LIMITS)
        if written is not None and "${{" not in str(written):
            values.check_range(f"{place}.{name}", values.integer(f"{place}.{name}", str(written)), 1, None)
    if limits.get("max_total_trials") is None and algorithm != GRID:
        raise PipelineError(f"{place}.max_total_trials is missing; say how many trials there are to be at most, such as 12")


def check_policy(place: str, written: Any) -> None:
    """Refuse a policy of early termination that is none.

    Raises:
        DesignerError: with its place.
    """
    if written is None:
        return
    if not isinstance(written, dict):
        raise PipelineError(f"{place} is {str(written)[:100]!r}, expected such as {{type: median_stopping, delay_evaluation: 2}}")
    kind = _one_of(f"{place}.type", written.get("type"), tuple(POLICIES))
    numbers = {}
    for name, value in written.items():
        values.check_choice(f"a setting of {place}", str(name), ("type", *POLICIES[kind]))
        if name != "type" and value is not None:
            numbers[name] = _number(f"{place}.{name}", value, 0, None)
    if kind == BANDIT and (not numbers.get("slack_factor")) == (not numbers.get("slack_amount")):
        raise PipelineError(f"{place} needs either slack_factor or slack_amount, greater than 0")
    if kind == TRUNCATION:
        _number(f"{place}.truncation_percentage", written.get("truncation_percentage"), 1, 99)
