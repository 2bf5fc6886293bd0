"""Noise processes: x_t = alpha(t) x_0 + std(t) z, in Python floats.

A whole batch shares one t, so a schedule is arithmetic on floats: no broadcasting, no device. A sampler
that steps each sample on its own asks once a sample.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from mrct_runtime.errors import UsageError


class Process(Protocol):
    """A forward noise process with network time t in [t_min, t_max].

    dx = f(t) x dt + g(t) dw carries an image x_0 into p_0t(x) = N(alpha(t) x_0, std(t)^2 I).
    """

    @property
    def t_min(self) -> float:
        """The smallest time that the network was trained at."""
        ...

    @property
    def t_max(self) -> float:
        """The time of the prior."""
        ...

    def alpha(self, t: float) -> float:
        """The factor on the image in p_0t."""
        ...

    def std(self, t: float) -> float:
        """The deviation of p_0t."""
        ...

    def time(self, sigma: float) -> float:
        """The t at which std / alpha is `sigma`: what samplers that step in sigma ask the network at."""
        ...

    def f(self, t: float) -> float:
        """The drift's factor on x."""
        ...

    def g(self, t: float) -> float:
        """The diffusion coefficient."""
        ...


@dataclass(frozen=True)
class VESDE:
    """The variance-exploding SDE dx = S^t dw (Song et al. 2021, in the S^t form of their tutorial code)."""

    sigma: float = 25.0
    t_min: float = 1e-5

    def __post_init__(self) -> None:
        if not 1 < self.sigma <= 1e6:
            raise UsageError(f"the VE-SDE's sigma must be above 1, at most 1e6, got {self.sigma}")
        if not 0 < self.t_min < 1:
            raise UsageError(f"the VE-SDE's t_min must lie between 0 and 1, got {self.t_min}")

    @property
    def t_max(self) -> float:
        """1, the time of the prior."""
        return 1.0

    def alpha(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """1: the image is never scaled."""
        return 1.0

    def std(self, t: float) -> float:
        """sqrt((S^2t - 1) / (2 ln S)), the deviation of p_0t; expm1 keeps it exact for small t."""
        log_sigma = math.log(self.sigma)
        return math.sqrt(math.expm1(2 * t * log_sigma) / (2 * log_sigma))

    def f(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """0: the VE process has no drift."""
        return 0.0

    def g(self, t: float) -> float:
        """S^t."""
        return math.exp(t * math.log(self.sigma))

    def time(self, sigma: float) -> float:
        """ln(1 + 2 sigma^2 ln S) / (2 ln S), the t at which the deviation is `sigma`."""
        log_sigma = math.log(self.sigma)
        return math.log1p(2 * sigma**2 * log_sigma) / (2 * log_sigma)


class Level(NamedTuple):
    """One step of an ancestral sampler: from abar to abar_prev, with beta = 1 - abar / abar_prev."""

    t: float
    beta: float
    abar: float
    abar_prev: float

    @property
    def posterior_variance(self) -> float:
        """(1 - abar_prev) / (1 - abar) beta (Ho et al. 2020, equation 7)."""
        return (1 - self.abar_prev) / (1 - self.abar) * self.beta


@dataclass(frozen=True)
class DDPM:
    """The discrete variance-preserving process of Ho et al. 2020, i = 1..T, met by the network as t = i / T.

    Between grid times the log signal-to-noise ratio is linear in t.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"a DDPM needs at least one step, got {self.steps}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UsageError(
                f"a DDPM needs 0 < beta_start <= beta_end < 1, got {self.beta_start} and {self.beta_end}"
            )
        if self.abar[-1] < 1e-12:
            raise UsageError(
                f"a DDPM that keeps {self.abar[-1]:.0e} of the signal's power cannot be computed; "
                "take fewer steps or smaller betas"
            )

    @property
    def t_min(self) -> float:
        """1 / T, the first noise level."""
        return 1 / self.steps

    @property
    def t_max(self) -> float:
        """1, the time of the prior."""
        return 1.0

    @property
    def levels(self) -> int:
        """The noise levels up to t_max."""
        return round(self.t_max * self.steps)

    @cached_property
    def beta(self) -> tuple[float, ...]:
        """beta_i [T + 1], linear in i; beta_0 = 0."""
        return (0.0, *np.linspace(self.beta_start, self.beta_end, self.steps).tolist())

    @cached_property
    def abar(self) -> tuple[float, ...]:
        """prod_{j<=i} (1 - beta_j) [T + 1]; abar_0 = 1."""
        return tuple(np.cumprod(1 - np.array(self.beta)).tolist())

    @cached_property
    def log_snr(self) -> tuple[float, ...]:
        """ln(abar_i / (1 - abar_i)) [T], i = 1..T."""
        return tuple(math.log(a / (1 - a)) for a in self.abar[1:])

    def alpha(self, t: float) -> float:
        """sqrt(abar(t))."""
        return math.sqrt(_sigmoid(self._log_snr_at(t)))

    def std(self, t: float) -> float:
        """sqrt(1 - abar(t))."""
        return math.sqrt(_sigmoid(-self._log_snr_at(t)))

    def time(self, sigma: float) -> float:
        """The t at which ln(alpha^2 / std^2) = -2 ln sigma, between grid times too; their ends for sigmas beyond."""
        return (_invert(self.log_snr, -2 * math.log(sigma)) + 1) / self.steps

    def f(self, t: float) -> float:
        """-T beta(t) / 2, the drift of the VP-SDE that the chain discretises (Song et al. 2021, equation 11)."""
        return -(self.g(t) ** 2) / 2

    def g(self, t: float) -> float:
        """sqrt(T beta(t)), beta linear between grid times."""
        return math.sqrt(self.steps * _interpolate(self.beta[1:], t * self.steps - 1))

    def respaced(self, steps: int) -> tuple[Level, ...]:
        """The levels of a chain of K steps, t descending from t_max.

        Every beta is recomputed from the strided abar (Nichol & Dhariwal 2021, equation 19): with the unstrided
        betas the chain would remove too little noise.
        """
        if not 1 <= steps <= self.levels:
            raise UsageError(
                f"this DDPM can be sampled in 1 to {self.levels} steps, got {steps}: change --steps"
            )
        indices = [0, *(round(k * self.levels / steps) for k in range(1, steps + 1))]
        levels = (
            Level(
                i / self.steps,
                1 - self.abar[i] / self.abar[previous],
                self.abar[i],
                self.abar[previous],
            )
            for previous, i in itertools.pairwise(indices)
        )
        return tuple(reversed(list(levels)))

    def _log_snr_at(self, t: float) -> float:
        return _interpolate(self.log_snr, t * self.steps - 1)


@dataclass(frozen=True)
class Direct:
    """No noise at all: the process of a network that gives the image at once, x_0 from y (CNN, GAN).

    alpha = std = 0, so a prior drawn from it is 0 everywhere; its one time is 1.
    """

    @property
    def t_min(self) -> float:
        """1, the only time."""
        return 1.0

    @property
    def t_max(self) -> float:
        """1, the only time."""
        return 1.0

    def alpha(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """0: nothing of the image is known before the network has seen the MR."""
        return 0.0

    def std(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """0: no noise."""
        return 0.0

    def time(self, sigma: float) -> float:  # noqa: ARG002 - the protocol's argument
        """1, the only time."""
        return 1.0

    def f(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """0: no drift."""
        return 0.0

    def g(self, t: float) -> float:  # noqa: ARG002 - the protocol's argument
        """0: no diffusion."""
        return 0.0


def _interpolate(table: tuple[float, ...], at: float) -> float:
    """The table's value at a fractional index, linear between entries and constant past the ends."""
    at = min(max(at, 0.0), len(table) - 1.0)
    nearest = round(at)
    if abs(at - nearest) < 1e-9:  # t = i / T is not exact in binary; a grid time means its entry
        return table[nearest]
    low = math.floor(at)
    return table[low] + (at - low) * (table[low + 1] - table[low])


def _invert(table: tuple[float, ...], value: float) -> float:
    """The fractional index at which a falling table has the value, as `_interpolate` reads it; the ends beyond them."""
    if value >= table[0]:
        return 0.0
    if value <= table[-1]:
        return len(table) - 1.0
    above = bisect.bisect_right(table, -value, key=operator.neg) - 1
    return above + (table[above] - value) / (table[above] - table[above + 1])


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
