"""The values of a sweep's next trial, by Optuna's samplers.

A proposal depends on the seed, the number of the trial and what is known of those before: a sweep that was killed and is run
again proposes what it would have proposed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from designer_vision.pipeline.sweep import BAYESIAN, GRID, SOBOL, Distribution, Drawn, Sweep

MOST_DRAWS = 1000
"""For values that no trial has had; then there are taken to be none."""
MOST_GUESSES = 50
"""Of these, by the results so far: what they lead to again and again is known already."""


def propose(sweep: Sweep, before: Sequence[tuple[Drawn, float | None]]) -> Drawn | None:
    """Values that no trial has had; None where there are no more.

    Args:
        sweep: what is searched.
        before: what was drawn for each earlier trial, and its best value of the metric; None where it has none yet.
    """
    number = len(before)
    if sweep.sampling.algorithm == GRID:
        return next(itertools.islice(_grid(sweep), number, None), None)
    had = [sweep.texts(drawn) for drawn, _ in before]
    for draw in range(MOST_DRAWS):
        drawn = _draw(sweep, before, draw)
        if sweep.texts(drawn) not in had:
            return drawn
    return None


def _grid(sweep: Sweep) -> Iterator[Drawn]:
    """Every combination, the last parameter's values changing fastest."""
    for places in itertools.product(*(range(distribution.count or 0) for distribution in sweep.space.values())):
        yield dict(zip(sweep.space, map(float, places), strict=True))


def _draw(sweep: Sweep, before: Sequence[tuple[Drawn, float | None]], draw: int) -> Drawn:
    seed = int(np.random.SeedSequence((sweep.sampling.seed, len(before), draw)).generate_state(1)[0])
    if sweep.sampling.algorithm == SOBOL:
        return _sobol(sweep, len(before) + draw)
    return _ask(sweep, before, seed, by_results=sweep.sampling.algorithm == BAYESIAN and draw < MOST_GUESSES)


def _ask(sweep: Sweep, before: Sequence[tuple[Drawn, float | None]], seed: int, by_results: bool) -> Drawn:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed) if by_results else optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize" if sweep.objective.maximize else "minimize", sampler=sampler)
    distributions = {name: _distribution(distribution) for name, distribution in sweep.space.items()}
    if by_results:
        for drawn, value in before:
            if value is not None:
                params = {name: distributions[name].to_external_repr(drawn[name]) for name in distributions}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    return {name: float(value) for name, value in study.ask(distributions).params.items()}


def _distribution(distribution: Distribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.kind == "choice":
        return CategoricalDistribution(list(range(len(distribution.values))))
    if distribution.kind == "randint":
        return IntDistribution(0, int(distribution.high))
    return FloatDistribution(*distribution.bounds)


def _sobol(sweep: Sweep, place: int) -> Drawn:
    """The point of a scrambled Sobol sequence at a place."""
    from scipy.stats.qmc import Sobol

    sequence = Sobol(len(sweep.space), rng=sweep.sampling.seed)
    if place:
        sequence.fast_forward(place)
    (point,) = sequence.random(1)
    return {name: _at(distribution, float(share)) for (name, distribution), share in zip(sweep.space.items(), point, strict=True)}


def _at(distribution: Distribution, share: float) -> float:
    if distribution.count is not None:
        return float(int(share * distribution.count))
    low, high = distribution.bounds
    return low + share * (high - low)
