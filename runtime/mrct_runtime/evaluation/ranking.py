"""What the tables have a row for: a run's single samples and its averaged images, and which of them is best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mrct_runtime.evaluation.results import METRICS, Interval, Run, Scores

_DECIMALS: Final = {"": 3, "dB": 2, "HU": 1}


@dataclass(frozen=True)
class Entry:
    """One result under its own name: DDPM is a run's single samples, DDPM-M their averaged images."""

    label: str
    run: Run
    averaged: bool

    def interval(self, metric: str, group: str) -> Interval | None:
        """The metric over the group's subjects; None where no subject of the group has it."""
        overall = self.run.overall.get(group)
        if overall is None:
            return None
        return (overall.mean if self.averaged else overall.single).get(metric)

    def subjects(self, metric: str, names: Iterable[str]) -> dict[str, float]:
        """Subject -> its value of the metric, of those named, where it has one."""
        wanted = set(names)
        scores: dict[str, Scores] = {
            subject.subject: subject.mean if self.averaged else subject.single
            for subject in self.run.subjects
            if subject.subject in wanted
        }
        return {name: values[metric] for name, values in scores.items() if metric in values}

    @property
    def direct(self) -> bool:
        """Whether one evaluation of the network is the whole result."""
        return self.run.method in {"cnn", "wgan-gp"}


def entries(runs: Iterable[Run]) -> tuple[Entry, ...]:
    """DDPM, DDPM-M, EM, EM-M, ..., CNN: a run of one sample has no averaged result."""
    return tuple(
        Entry(run.label_of_mean if averaged else run.label, run, averaged)
        for run in runs
        for averaged in ((False, True) if run.mc > 1 else (False,))
    )


def ranking(rows: Iterable[Entry], metric: str, group: str) -> list[tuple[Entry, Interval]]:
    """The entries that have the metric in the group, best first; of equals the first stays first."""
    found = [(row, interval) for row in rows if (interval := row.interval(metric, group))]
    return sorted(found, key=lambda pair: pair[1].value, reverse=METRICS[metric].higher_is_better)


def in_figures(metric: str, value: float) -> str:
    """The value with as many decimals as its metric's unit deserves: 0.912, 27.31 (dB), 63.4 (HU)."""
    return f"{value:.{_DECIMALS[METRICS[metric].unit]}f}"


def three_digits(value: float) -> str:
    """The value with three significant digits, whole where it is: 0.0412, 6.10, 148, 11000, 1."""
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"
