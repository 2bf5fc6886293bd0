"""Noise processes whose prior lies on the way: for samples that begin with less noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Process


@dataclass(frozen=True)
class StartedVESDE(VESDE):
    """The same process whose prior is its state at `start`: for samples that begin with less noise."""

    start: float = 1.0

    @property
    def t_max(self) -> float:
        """`start`."""
        return self.start


@dataclass(frozen=True)
class StartedDDPM(DDPM):
    """The same process whose prior is its state at `start`, one of its levels."""

    start: float = 1.0

    @property
    def t_max(self) -> float:
        """`start`."""
        return self.start


def started(process: Process, sigma: float) -> Process:
    """The process with its prior where std / alpha is `sigma`, of a discrete one at the next level above.

    UsageError where that lies outside the process.
    """
    if not isinstance(process, VESDE | DDPM):
        raise UsageError(f"a {type(process).__name__} model has no noise to start from")
    low, high = (process.std(t) / process.alpha(t) for t in (process.t_min, process.t_max))
    if not low < sigma < high:
        raise UsageError(
            f"samples can start at a sigma between {low:.4g} and {high:.4g}, got {sigma:g}"
        )
    t = process.time(sigma)
    if isinstance(process, VESDE):
        return StartedVESDE(process.sigma, process.t_min, t)
    # a time that is a level's but for rounding is that level
    start = math.ceil(t * process.steps - 1e-9) / process.steps
    return StartedDDPM(process.steps, process.beta_start, process.beta_end, start)
