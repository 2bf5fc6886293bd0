"""Times of one piece of work: a warm-up that ends when they settle, then as many as fit; percentiles with a conscience."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mrct_runtime.bench.clock import Clock

Work = Callable[[], object]

SETTLED: Final = 0.02
"""The last ten times of a warm-up that has settled lie so close together, as a share of their median."""
_LAST, _LEAST = 10, 20
MOST_RUNS: Final = 500
_NEEDED: Final = {50: 1, 95: 20, 99: 100}
"""A percentile and the runs that it takes: one in a hundred is not seen in fewer than a hundred."""


@dataclass(frozen=True)
class WarmUp:
    """How a warm-up went: the seconds of the first run, which may compile or search, and of the last; whether they settled."""

    runs: int
    first: float
    last: float
    settled: bool


def warm_up(work: Work, clock: Clock, seconds: float) -> WarmUp:
    """Runs the work until its times settle, after twenty runs at least, or for so many seconds after the first run."""
    first = _once(work, clock)
    started, times = time.monotonic(), list[float]()
    while True:
        times.append(_once(work, clock))
        settled = len(times) >= _LEAST and spread(times[-_LAST:]) < SETTLED
        if settled or time.monotonic() - started >= seconds:
            return WarmUp(1 + len(times), first, times[-1], settled)


def _once(work: Work, clock: Clock) -> float:
    """The seconds of one run, the queue empty before and after it."""
    before = clock.mark()
    work()
    after = clock.mark()
    clock.finish()
    return clock.between(before, after)


def durations(work: Work, clock: Clock, seconds: float, expected: float) -> list[float]:
    """The time of each of as many runs as fit into `seconds`, queued one after another; one at least.

    `expected` is about what a run takes. The time of a run is that from the end of the one before, so it holds what the
    host needs to queue it where the device has to wait for that.
    """
    runs = min(max(math.floor(seconds / max(expected, 1e-9)), 1), MOST_RUNS)
    marks = [clock.mark()]
    for _ in range(runs):
        work()
        marks.append(clock.mark())
    clock.finish()
    return [clock.between(a, b) for a, b in itertools.pairwise(marks)]


def spread(times: Sequence[float]) -> float:
    """(largest - smallest) / median."""
    return (max(times) - min(times)) / statistics.median(times)


def percentile(times: Sequence[float], rank: int) -> float | None:
    """The time that `rank` percent of the runs do not exceed; None where there are too few runs to tell."""
    if len(times) < _NEEDED[rank]:
        return None
    if rank == 50:
        return statistics.median(times)
    ordered = sorted(times)
    return ordered[math.ceil(rank / 100 * len(ordered)) - 1]
