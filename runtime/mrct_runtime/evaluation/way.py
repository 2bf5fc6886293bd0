"""The states that a sample goes through, seen from the network that is asked on the way."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, Time, on_host
from mrct_runtime.evaluation.results import State

SHOWN_TIMES: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
"""The times of the reverse process whose states are kept; the sample itself comes after them."""


class Way:
    """An observer of one sample's evaluations; `states` are the first at or below each of the shown times.

    A solver that adapts its steps asks within a step as well, and in steps that it then rejects. Its sample has been where
    it asks twice in succession (the last stage of a step is the first of the next), unless it goes back from there. Of the
    states that any sampler asks at one time the last is meant: the others are to be corrected.
    """

    def __init__(self, *, adaptive: bool) -> None:
        self._adaptive = adaptive
        self._last: float | None = None
        self._reached: State | None = None
        self._kept: list[State] = []

    def __call__(self, x: Array, t: Time) -> None:
        """Sees a state x [1, 1, H, W] that is evaluated at time t."""
        now = t if isinstance(t, float) else float(t[0])
        if self._reached is not None and now < self._reached.t:
            self._kept.append(self._reached)
        self._reached = None
        first, again = self._last is None, now == self._last
        if first or again or not self._adaptive:
            shown = _passed(now) > (_passed(self._kept[-1].t) if self._kept else 0)
            self._reached = State(now, single(on_host(x)[0, 0])) if shown else None
        self._last = now

    @property
    def states(self) -> tuple[State, ...]:
        """From the noise on."""
        return (*self._kept, *(() if self._reached is None else (self._reached,)))


def single(image: NDArray[Any]) -> NDArray[np.float32]:
    """A copy of its own in single precision."""
    return np.array(image, np.float32)


def _passed(t: float) -> int:
    """How many of the shown times lie at or before t; the grid times of a chain are not exact in binary."""
    return sum(t <= shown + 1e-9 for shown in SHOWN_TIMES)
