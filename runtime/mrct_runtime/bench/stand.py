"""The child's side of a measurement: one subject on its stand, warmed up and timed on request."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any, Protocol

from mrct_runtime.bench.clock import Clock
from mrct_runtime.bench.timing import durations, warm_up


class Subject(Protocol):
    """Something whose work on a batch can be timed."""

    @property
    def clock(self) -> Clock:
        """What takes the time of its work."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What it is: device, precision, weights, as a report tells it."""
        ...

    def case(self, batch: int) -> Callable[[], object]:
        """A function that does, or queues, the work on so many images once."""
        ...

    def device_memory(self) -> int | None:
        """Bytes that are taken on its GPU, by whomever; None on the host."""
        ...


class Stand:
    """A subject with the case that was asked for last; what it takes of its GPU is summed over its own turns.

    The subject is made when it is first asked for: processes may start together, but devices are taken in turn. `taken`
    tells how much of its GPU's memory is taken before that.
    """

    def __init__(
        self, make: Callable[[], Subject], taken: Callable[[], int | None] = lambda: None
    ) -> None:
        self._make, self._taken = make, taken
        self._batch = 0
        self._work: Callable[[], object] | None = None
        self._grown, self._last = 0, 0.0

    @cached_property
    def _subject(self) -> Subject:
        before = self._taken()
        made = self._make()
        self._grown += _growth(before, made.device_memory())
        return made

    def facts(self) -> dict[str, Any]:
        """What the subject is."""
        return self._subject.facts

    def warm_up(self, batch: int, seconds: float) -> dict[str, Any]:
        """Runs on so many images until the times settle; see timing.py."""
        before = self._subject.device_memory()
        went = warm_up(self._case(batch), self._subject.clock, seconds)
        self._last = went.last
        self._grown += _growth(before, self._subject.device_memory())
        return asdict(went)

    def measure(self, batch: int, seconds: float) -> list[float]:
        """The seconds of each run that fits into `seconds`."""
        before = self._subject.device_memory()
        work = self._case(batch)
        times = durations(work, self._subject.clock, seconds, self._last)
        self._grown += _growth(before, self._subject.device_memory())
        return times

    def memory(self) -> dict[str, int | None]:
        """Bytes: the most that the process held of the host's memory, and what it has taken of its GPU's."""
        on_gpu = self._subject.device_memory() is not None
        return {"peak_rss": peak_rss(), "device": self._grown if on_gpu else None}

    def _case(self, batch: int) -> Callable[[], object]:
        if self._work is None or batch != self._batch:
            self._work = None  # so that two cases are never in memory together
            self._batch, self._work = batch, self._subject.case(batch)
        return self._work


def peak_rss() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _growth(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else after - before
