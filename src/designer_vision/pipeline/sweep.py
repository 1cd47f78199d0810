"""A `type: sweep` step as its YAML describes it, and how far its trials are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from designer_vision.pipeline.early_termination import Policy

RANDOM, SOBOL, GRID, BAYESIAN = "random", "sobol", "grid", "bayesian"
BOUNDED = ("uniform", "loguniform", "quniform", "qloguniform")
NORMAL = ("normal", "lognormal", "qnormal", "qlognormal")
ARGUMENTS = {
    "choice": ("values",),
    "randint": ("upper",),
    **{kind: ("min_value", "max_value", *(["q"] if kind.startswith("q") else [])) for kind in BOUNDED},
    **{kind: ("mu", "sigma", *(["q"] if kind.startswith("q") else [])) for kind in NORMAL},
}
"""What each kind of distribution is described by."""
LEAST_PROBABILITY = 1e-9
"""Of the tails of a normal distribution, which has values for neither 0 nor 1."""
DIGITS = 12
"""Of a multiple of q, so that 3 x 0.1 is 0.3."""

Drawn = Mapping[str, float]
"""What a sampler drew, by parameter: the place of a choice, a whole number, or what `Distribution.value` makes a value of."""


@dataclass(frozen=True)
class Distribution:
    """The values that a parameter may have, under Azure's names; `logs` are powers of a base, and `q`s multiples of q.

    Attributes:
        kind: one of ARGUMENTS.
        values: to choose from, as texts.
        low, high: of what is drawn: of uniform ones the exponent of a log, of normal ones a probability.
        mu, sigma, q: where the kind has them.
    """

    kind: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    q: float = 0.0

    @property
    def count(self) -> int | None:
        """How many values there are; None where there is no end of them."""
        return {"choice": len(self.values), "randint": int(self.high) + 1}.get(self.kind)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what is drawn, where it is no choice and no whole number."""
        return (LEAST_PROBABILITY, 1 - LEAST_PROBABILITY) if self.kind in NORMAL else (self.low, self.high)

    def value(self, drawn: float, base: float) -> str:
        """The text that a trial gets for what was drawn."""
        if self.kind == "choice":
            return self.values[int(drawn)]
        if self.kind == "randint":
            return str(int(drawn))
        value = NormalDist(self.mu, self.sigma).inv_cdf(drawn) if self.kind in NORMAL else drawn
        if "log" in self.kind:
            value = math.exp(value) if base == math.e else base**value
        if self.q:
            value = round(round(value / self.q) * self.q, DIGITS)
            return str(int(value) if float(self.q).is_integer() else value)
        return str(value)

    def ends(self, base: float) -> Iterator[str]:
        """Texts between which all values lie: every choice, or the least and the greatest; nothing where there are none."""
        if self.kind == "choice":
            yield from self.values
        elif self.kind not in NORMAL:
            yield from (self.value(end, base) for end in (self.low, self.high))


def read_distribution(written: Mapping[str, Any]) -> Distribution:
    """A distribution of a search space that was checked."""
    kind = str(written["type"]).lower()
    if kind == "choice":
        return Distribution(kind, values=tuple(map(str, written["values"])))
    if kind == "randint":
        return Distribution(kind, high=float(written["upper"]) - 1)
    q = float(written.get("q") or 0)
    if kind in NORMAL:
        return Distribution(kind, mu=float(written["mu"]), sigma=float(written["sigma"]), q=q)
    return Distribution(kind, low=float(written["min_value"]), high=float(written["max_value"]), q=q)


@dataclass(frozen=True)
class Objective:
    """The metric that decides, and which of its values are better."""

    metric: str
    maximize: bool

    def score(self, value: float) -> float:
        """A value so that higher is better; one that is no number is worse than all."""
        return -math.inf if math.isnan(value) else value if self.maximize else -value


@dataclass(frozen=True)
class Limits:
    """How many trials, how many at a time, and for how many seconds all of them and each; None is no limit."""

    total: int
    concurrent: int = 1
    timeout: float | None = None
    trial_timeout: float | None = None


@dataclass(frozen=True)
class Sampling:
    """How values are drawn: the algorithm, the seed, and the base of logs."""

    algorithm: str
    seed: int = 0
    base: float = math.e


@dataclass(frozen=True)
class Sweep:
    """What a sweep searches, how, and for what."""

    space: Mapping[str, Distribution]
    sampling: Sampling
    objective: Objective
    limits: Limits
    policy: Policy | None = None

    @property
    def total(self) -> int:
        """How many trials there will be at most: no two have the same values."""
        counts = [distribution.count for distribution in self.space.values()]
        return min([self.limits.total, *([] if None in counts else [math.prod(filter(None, counts))])])

    def texts(self, drawn: Drawn) -> dict[str, str]:
        """The inputs that a trial gets for what was drawn."""
        return {name: distribution.value(drawn[name], self.sampling.base) for name, distribution in self.space.items()}


def read_sweep(written: Mapping[str, Any], count: Callable[[Any, str], int]) -> Sweep:
    """A sweep that was checked, from its YAML.

    Args:
        written: the node.
        count: makes a whole number of what stands at a place, such as a reference to an input of the pipeline.
    """
    limits = written["limits"]
    space = {str(name): read_distribution(entry) for name, entry in written["search_space"].items()}
    given = {name: count(limits[name], f"limits.{name}") for name in limits if limits[name] is not None}
    sampling = read_sampling(written.get("sampling_algorithm"))
    everything = math.prod(distribution.count or 0 for distribution in space.values())
    return Sweep(
        space,
        sampling,
        Objective(str(written["objective"]["primary_metric"]), str(written["objective"]["goal"]).lower() == "maximize"),
        Limits(
            given.get("max_total_trials", everything),
            given.get("max_concurrent_trials", 1),
            *(max(given[name], LEAST_SECONDS) if name in given else None for name in ("timeout", "trial_timeout")),
        ),
        read_policy(written.get("early_termination")),
    )


LEAST_SECONDS = 60
"""Of a timeout: Azure's client makes as much of less."""


def read_sampling(written: Any) -> Sampling:
    """The sampling algorithm, by its name alone or with its settings."""
    settings = written if isinstance(written, Mapping) else {"type": written}
    base = settings.get("logbase", "e")
    rule = str(settings.get("rule", "")).lower()
    algorithm = str(settings.get("type")).lower()
    return Sampling(
        SOBOL if (algorithm, rule) == (RANDOM, SOBOL) else algorithm,
        int(settings.get("seed") or 0),
        math.e if str(base) == "e" else float(base),
    )


def read_policy(written: Any) -> Policy | None:
    """The policy of early termination."""
    if not written:
        return None
    numbers = {name: float(value) for name, value in written.items() if name != "type" and value is not None}
    return Policy(
        str(written["type"]).lower(),
        interval=max(int(numbers.get("evaluation_interval", 1)), 1),  # the client sends 0 where there is none
        delay=int(numbers.get("delay_evaluation", 0)),
        slack_factor=numbers.get("slack_factor", 0.0),
        slack_amount=numbers.get("slack_amount", 0.0),
        percentage=numbers.get("truncation_percentage", 0.0),
    )


# How far it is


def trial_name(sweep: str, number: int) -> str:
    """What a trial is called, which is also where its folder is in the run's."""
    return f"{sweep}/trial_{number}"


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Attributes:
        number: from 1.
        values: of the searched parameters, as its command got them.
        phase: running, finished, failed, or stopped: by the policy, a timeout, or with the whole run.
        reported: every value of the primary metric so far, in their order.
        seconds: how long it ran.
        why: it failed or was stopped.
    """

    number: int
    values: Mapping[str, str]
    phase: str = "running"
    reported: tuple[float, ...] = ()
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a sweep is.

    Attributes:
        objective: that decides.
        total: trials that there will be, unless a limit or an error ends the sweep earlier.
        trials: those that have begun.
    """

    objective: Objective
    total: int
    trials: tuple[Trial, ...] = ()

    @property
    def ended(self) -> int:
        """How many trials have ended, well or not."""
        return sum(trial.phase != "running" for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best value of the metric, the first of equals; None while there is none."""
        finished = [trial for trial in self.trials if trial.phase == "finished" and self.value(trial) is not None]
        return max(finished, key=self._score, default=None)

    def value(self, trial: Trial) -> float | None:
        """The best value that a trial reported; None where it reported no number."""
        numbers = [value for value in trial.reported if not math.isnan(value)]
        return max(numbers, key=self.objective.score, default=None)

    def ranked(self) -> list[Trial]:
        """The best first: finished ones, then the stopped, then those without a value."""
        order = {"finished": 0, "running": 1, "stopped": 1, "failed": 2}
        return sorted(self.trials, key=lambda trial: (order[trial.phase], -self._score(trial), trial.number))

    def _score(self, trial: Trial) -> float:
        value = self.value(trial)
        return -math.inf if value is None else self.objective.score(value)
