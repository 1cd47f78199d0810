"""Azure's policies that end a trial before it is done.

They follow Azure's documentation and are not Optuna's pruners of similar names: Azure's median is that of running averages over
all trials, where Optuna's is of the finished trials' values at one step; Azure's bandit compares with the best trial, and no
pruner of Optuna does. Every value that a trial reports is an interval. Scores are values of the metric, turned so that higher is
better.

Source: "Tune hyperparameters for your model", early termination, and the policies' pages in the reference of Microsoft's SDK.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

MEDIAN, BANDIT, TRUNCATION = "median_stopping", "bandit", "truncation_selection"
Scores = Sequence[float]


@dataclass(frozen=True)
class Policy:
    """When trials are compared, and which of them are ended.

    Attributes:
        kind: MEDIAN, BANDIT or TRUNCATION.
        interval, delay: they are compared at every multiple of `interval` from `delay` on.
        slack_factor, slack_amount: how far BANDIT lets a trial be behind the best one.
        percentage: how many of the worst TRUNCATION ends.
    """

    kind: str
    interval: int = 1
    delay: int = 0
    slack_factor: float = 0.0
    slack_amount: float = 0.0
    percentage: float = 0.0

    def ends_at(self, own: Scores, others: Sequence[Scores], since: int = 0) -> int | None:
        """The first interval after `since` at which a trial is to be ended; None where it goes on.

        Args:
            own: the trial's scores so far.
            others: those of all other trials, those that were stopped included.
            since: intervals that were looked at before.
        """
        for interval in range(since + 1, len(own) + 1):
            if interval % self.interval == 0 and interval >= self.delay and self.is_behind(own, others, interval):
                return interval
        return None

    def is_behind(self, own: Scores, others: Sequence[Scores], interval: int) -> bool:
        """Whether a trial is to be ended at an interval. Of a trial that reported less, all counts that it has."""
        known = [scores[:interval] for scores in others if scores]
        best, bests = max(own[:interval]), [max(scores) for scores in known]
        if self.kind == MEDIAN:
            return best < median([mean(own[:interval]), *map(mean, known)])
        if self.kind == TRUNCATION:
            worse = sum(other <= best for other in bests)
            return worse < math.floor(self.percentage / 100 * (len(bests) + 1))
        leader = max([best, *bests])
        if self.slack_factor:
            return best < (leader / (1 + self.slack_factor) if leader >= 0 else leader * (1 + self.slack_factor))
        return best < leader - self.slack_amount
