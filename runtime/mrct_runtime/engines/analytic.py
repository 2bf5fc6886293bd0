"""The engine without a network: data whose denoiser is known in closed form.

It is what every sampler is tested against, and the shortest example of an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time, per_sample_like
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines import Backend
from mrct_runtime.process import Direct, Process


def _same(cond: Array) -> Array:
    return cond


def _tenth(cond: Array) -> Array:
    return 0 * cond + 0.1


@dataclass(frozen=True)
class Analytic:
    """Independent Gaussian pixels x_0 ~ N(m(y), s(y)^2) given the condition y.

    Then x_t ~ N(alpha m, alpha^2 s^2 + std^2), and the best eps_hat is std (x - alpha m) / (alpha^2 s^2 + std^2),
    minus std times the score. The best direct network gives m. Evaluated in float64.
    """

    process: Process
    mean: Callable[[Array], Array] = _same
    deviation: Callable[[Array], Array] = _tenth
    max_batch: int = 1024
    device: Device = HOST
    backend: ClassVar[Backend] = Backend("analytic", HOST.name, "fp64")

    def bind(self, cond: Array) -> Denoiser:
        """eps(x, t), or x_0 of a direct process, for the condition [B, 1, H, W]."""
        cond = cond.astype(np.float64)
        m, variance = self.mean(cond), self.deviation(cond) ** 2
        if isinstance(self.process, Direct):
            return lambda _x, _t: m

        def eps(x: Array, t: Time) -> Array:
            alpha, std = schedule(self.process, t, x)
            numerator: Array = std * (x - alpha * m)
            return numerator / (alpha**2 * variance + std**2)

        return eps

    def close(self) -> None:
        """Nothing to give back."""


def schedule(process: Process, t: Time, x: Array) -> tuple[float | Array, float | Array]:
    """(alpha, std) at t: floats for a shared t, [B, 1, 1, 1] where x is for one t a sample."""
    if isinstance(t, float):
        return process.alpha(t), process.std(t)
    times = t.tolist()
    alphas, stds = [process.alpha(at) for at in times], [process.std(at) for at in times]
    return per_sample_like(x, alphas), per_sample_like(x, stds)
