"""How sure a mean over subjects is: the bias-corrected and accelerated bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.results import Interval

METHOD: Final = "BCa (Efron 1987), subjects drawn with replacement"


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of subjects, the same for every measure of the same subjects, so that intervals can be compared."""

    seed: int = 0
    confidence: float = 0.95
    resamples: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise UsageError(f"the confidence must lie between 0 and 1, got {self.confidence}")
        if self.resamples < 100:
            raise UsageError(f"a bootstrap needs at least 100 resamples, got {self.resamples}")

    def interval(self, values: Sequence[float]) -> Interval:
        """The mean of one value a subject with its BCa interval; of a single value only the mean.

        The interval's ends are quantiles of the resampled means, at levels that are corrected for the bias z0 of their
        median and for the acceleration a, by which the mean's deviation changes with it (equation 6.8).
        """
        x = np.asarray(values, np.float64)
        if len(x) < 2:
            return Interval(float(x.mean()), None, None)
        if np.ptp(x) == 0:
            return Interval(float(x[0]), float(x[0]), float(x[0]))
        rng = np.random.default_rng(self.seed)
        means = x[rng.integers(len(x), size=(self.resamples, len(x)))].mean(axis=1)
        low, high = np.quantile(means, self._levels(x, means))
        return Interval(float(x.mean()), float(low), float(high))

    def _levels(self, x: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phi(z0 + (z0 + z) / (1 - a (z0 + z))) for z at both ends of the confidence level."""
        # half of the ties, which are many among few subjects; the order of a sum shows in its last digits
        tie = np.isclose(means, x.mean(), rtol=0, atol=1e-9 * np.ptp(x))
        below = ((means < x.mean()) & ~tie).mean() + tie.mean() / 2
        z0 = special.ndtri(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
        tail = (1 - self.confidence) / 2
        shifted = z0 + special.ndtri(np.array([tail, 1 - tail]))
        return np.asarray(special.ndtr(z0 + shifted / (1 - _acceleration(x) * shifted)))


def _acceleration(x: NDArray[np.float64]) -> float:
    """sum u^3 / (6 (sum u^2)^1.5), u_i the mean's fall when subject i is left out (the jackknife's)."""
    u = (x - x.mean()) / (len(x) - 1)
    return float((u**3).sum() / (6 * (u**2).sum() ** 1.5))
