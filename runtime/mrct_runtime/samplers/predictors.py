"""One reverse-time step of an SDE with eps_hat: x <- x - gain eps_hat + deviation z.

A predictor turns two times into (gain, deviation), so that a step is two floats, whatever the process.
Both serve drift-free processes, f = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from mrct_runtime.errors import UsageError
from mrct_runtime.process import VESDE, Process

PredictorName = Literal["euler-maruyama", "reverse-diffusion"]
Predictor: TypeAlias = Callable[[VESDE, float, float], tuple[float, float]]


def euler_maruyama(process: VESDE, t: float, t_next: float) -> tuple[float, float]:
    """(g^2 dt / std, g sqrt(dt)): the reverse SDE over dt = t - t_next, coefficients held at t."""
    dt = t - t_next
    return process.g(t) ** 2 * dt / process.std(t), process.g(t) * math.sqrt(dt)


def reverse_diffusion(process: VESDE, t: float, t_next: float) -> tuple[float, float]:
    """((std^2 - std_next^2) / std, sqrt(std^2 - std_next^2)): Song et al. 2021, appendix E.

    Exact in the variance for any step; towards t_next = 0 it is one full denoise.
    """
    variance = process.std(t) ** 2 - process.std(t_next) ** 2
    return variance / process.std(t), math.sqrt(variance)


PREDICTORS: dict[str, Predictor] = {
    "euler-maruyama": euler_maruyama,
    "reverse-diffusion": reverse_diffusion,
}


def uniform_levels(
    process: VESDE, levels: int, eps: float | None, predictor: PredictorName = "euler-maruyama"
) -> tuple[tuple[float, float], ...]:
    """(t, t_next) for each of N uniform levels from t_max down to eps (t_max/N where None).

    The last step goes to eps - dt, as published, which is 0 for eps = t_max/N; reverse diffusion's always goes to 0.
    """
    last = smallest_time(process, levels, eps)
    dt = (process.t_max - last) / (levels - 1) if levels > 1 else process.t_max
    times = [process.t_max - k * dt for k in range(levels)]
    end = 0.0 if predictor == "reverse-diffusion" else times[-1] - dt
    return tuple(zip(times, [*times[1:], end], strict=True))


def smallest_time(process: Process, levels: int, eps: float | None) -> float:
    """The last time at which the network is evaluated: eps, or t_max/N where it is None."""
    return process.t_max / levels if eps is None else eps


def check_eps(
    eps: float | None,
    levels: int,
    predictor: PredictorName,
    *,
    allow_residual_noise: bool,
    t_max: float = 1.0,
) -> None:
    """UsageError where eps leaves noise in the image.

    Euler-Maruyama's last step multiplies the noise that is left by 1 - dt/eps: harmless only when eps is about
    t_max/N, on either side of it.
    """
    if eps is None:
        return
    if not 0 < eps < t_max:
        raise UsageError(f"eps must lie between 0 and {t_max:g}, got {eps}")
    far_off = predictor == "euler-maruyama" and not 0.6 <= eps * levels / t_max <= 1.6
    if far_off and not allow_residual_noise:
        raise UsageError(
            f"eps {eps:g} with {levels} levels leaves noise in the image; leave eps out (it is then "
            f"{t_max / levels:g}), or take the reverse-diffusion predictor"
        )
