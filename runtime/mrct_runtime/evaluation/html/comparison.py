"""How far one result is ahead of another, subject by subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.ranking import Entry, entries, ranking
from mrct_runtime.evaluation.results import METRICS, Evaluation, Interval

FEWEST: Final = 6
"""Of fewer subjects nothing is told apart: five wins of five are chance in 1 of 16 cases, by the two-sided sign test."""


@dataclass(frozen=True)
class Lead:
    """By how much the first result is ahead of the second by a metric: above 0 is better.

    `by` is the mean of the differences within subjects with its interval, None where no subject has both; the first
    result is better in `wins` of `subjects`.
    """

    metric: str
    first: Entry
    second: Entry
    values: tuple[Interval, Interval]
    by: Interval | None
    wins: int
    subjects: int

    @property
    def is_clear(self) -> bool:
        """Whether there are subjects enough and the interval of the difference stays above 0."""
        if self.by is None or self.by.low is None or self.subjects < FEWEST:
            return False
        return self.by.low > 0


class Comparison:
    """The results of one group of subjects; `metrics` are those that some result has, in the order of the tables."""

    def __init__(self, evaluation: Evaluation, group: str) -> None:
        self.group = group
        self.runs = tuple(run for run in evaluation.runs if group in run.overall)
        self.rows = entries(self.runs)
        self.metrics = tuple(metric for metric in METRICS if self.ranking(metric))
        self._names = evaluation.data.groups.get(group, ())
        conditions = evaluation.conditions
        self._bootstrap = Bootstrap(
            seed=conditions.seed,
            confidence=conditions.confidence,
            resamples=conditions.bootstrap_resamples,
        )

    def ranking(
        self, metric: str, belongs: Callable[[Entry], bool] = lambda _: True
    ) -> list[tuple[Entry, Interval]]:
        """The results that belong, best first."""
        return ranking((row for row in self.rows if belongs(row)), metric, self.group)

    def leads(self) -> list[Lead]:
        """For every metric the best result against the next; none where there is only one result."""
        ranked = {metric: self.ranking(metric) for metric in self.metrics}
        return [
            self.lead(metric, order[0], order[1])
            for metric, order in ranked.items()
            if len(order) > 1
        ]

    def lead(
        self, metric: str, first: tuple[Entry, Interval], second: tuple[Entry, Interval]
    ) -> Lead:
        """The first result's lead over the second."""
        ours, theirs = (entry.subjects(metric, self._names) for entry, _ in (first, second))
        sign = 1 if METRICS[metric].higher_is_better else -1
        ahead = [sign * (ours[name] - theirs[name]) for name in ours if name in theirs]
        return Lead(
            metric=metric,
            first=first[0],
            second=second[0],
            values=(first[1], second[1]),
            by=self._bootstrap.interval(ahead) if ahead else None,
            wins=sum(each > 0 for each in ahead),
            subjects=len(ahead),
        )
