"""When a slice has samples enough: Monte Carlo that stops at a standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mrct_runtime.errors import UsageError


@dataclass(frozen=True)
class Stopping:
    """At least `least` samples of a slice, and more until the standard error of their mean is at most `tolerance`.

    That of the pixels of the body, averaged; `tolerance` is in units of the network.
    """

    least: int
    tolerance: float

    def __post_init__(self) -> None:
        if self.least < 2:
            raise UsageError(
                f"a standard error needs at least 2 samples a slice, got {self.least}: raise the lower number of mc"
            )
        if not (math.isfinite(self.tolerance) and self.tolerance > 0):
            raise UsageError(
                f"the tolerance of the mean must be finite and above 0, got {self.tolerance:g}"
            )

    def wanted(self, deviation: float, n: int, most: int) -> int:
        """The samples that a slice of this mean deviation over its first n needs in all; n where these are enough.

        As many as would be enough if the deviation stayed as it is, at most `most`; it is looked at again then.
        """
        if n >= most or standard_error(deviation, n) <= self.tolerance:
            return n
        enough = (deviation / c4(n) / self.tolerance) ** 2
        return min(max(n + 1, math.ceil(enough)), most)


def standard_error(deviation: float, n: int) -> float:
    """That of the mean of n independent samples of this deviation (ddof 1), without the small-sample bias of the latter."""
    return deviation / (c4(n) * math.sqrt(n))


def c4(n: int) -> float:
    """The expected deviation (ddof 1) of n normal samples of deviation 1: sqrt(2 / (n - 1)) Gamma(n / 2) / Gamma((n - 1) / 2)."""
    return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
