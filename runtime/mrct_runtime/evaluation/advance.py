"""How far an evaluation is, by network evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.synthesis import Progress


@dataclass(frozen=True)
class Advance:
    """Subjects finished of all, the fraction of all network evaluations, and what runs now."""

    subjects: int
    total_subjects: int
    fraction: float
    text: str


Show: TypeAlias = Callable[[Advance], None]


class Work:
    """All evaluations, every contestant's on every subject (the most of them where a sampler adapts)."""

    def __init__(
        self, runners: Sequence[Contestant], slices: Mapping[str, int], show: Show
    ) -> None:
        self._slices, self._show = slices, show
        self._a_slice = {each.label: each.evaluations * each.mc for each in runners}
        self._total = sum(slices.values()) * sum(self._a_slice.values())
        self._left = dict.fromkeys(slices, len(runners))
        self._done = self._sampled = 0.0

    def watch(self, subject: str, contestant: Contestant) -> Callable[[Progress], None]:
        """Told of every batch of a contestant's work on a subject."""
        self._sampled = 0.0
        a_slice = self._a_slice[contestant.label]

        def batch_finished(progress: Progress) -> None:
            # a subject of several pictures begins anew with each
            rows = self._sampled + progress.rows
            if progress.rows == progress.total_rows:
                self._sampled += progress.rows
            self._tell(rows / contestant.mc * a_slice, subject, contestant)

        return batch_finished

    def finish(self, subject: str, contestant: Contestant) -> None:
        """A contestant is through with a subject."""
        self._done += self._slices[subject] * self._a_slice[contestant.label]
        self._left[subject] -= 1
        self._tell(0.0, subject, contestant)

    def _tell(self, running: float, subject: str, contestant: Contestant) -> None:
        finished = sum(left == 0 for left in self._left.values())
        fraction = min(1.0, (self._done + running) / self._total)
        text = f"{subject}, {contestant.label}"
        self._show(Advance(finished, len(self._left), fraction, text))
