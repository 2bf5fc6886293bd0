"""Dormand-Prince 5(4) over a batch in which every sample has its own time, step and error.

The pair of Dormand & Prince 1980 with the controller of Hairer, Norsett & Wanner, "Solving ordinary differential
equations I", section II.4: the choices of scipy's RK45, so that one sample alone takes the very same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from mrct_runtime.arrays import Array, array_namespace, on_host, per_sample_like
from mrct_runtime.errors import NumericError

Slope: TypeAlias = Callable[[Array, Array], Array]

_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_FIFTH = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_EXPONENT = -1 / 5
_EVALUATIONS_A_STEP = 6


def integrate(
    slope: Slope,
    t_start: float,
    t_end: float,
    x: Array,
    *,
    tolerance: tuple[float, float],
    max_evaluations: int,
) -> Array:
    """x(t_end) float64 [B, 1, H, W] of dx/dt = slope(t [B], x), from x(t_start), for t_end < t_start.

    `tolerance` is (rtol, atol). A sample that has arrived keeps its value while the others go on; so does one
    that is not finite. Times, steps and errors are the host's: a GPU is waited for once a step of six evaluations, for
    the errors, as an adaptive step must be, and is sent a few numbers a sample for each evaluation.
    NumericError where the slowest sample asks for more than `max_evaluations`.
    """
    t = np.full(x.shape[0], t_start)
    k = slope(t, x)
    step = _first_step(slope, t, x, k, t_start - t_end, tolerance)
    step = np.where(step > 0, step, t_start - t_end)
    rejected = np.zeros(x.shape[0], dtype=bool)
    evaluations = 2
    while bool((t > t_end).any()):
        evaluations += _EVALUATIONS_A_STEP
        if evaluations > max_evaluations:
            raise NumericError(
                f"the ODE needs more than {max_evaluations} evaluations at rtol {tolerance[0]:g}, "
                f"atol {tolerance[1]:g} (reached t = {float(t.max()):.4g}): allow more steps or loosen rtol and atol"
            )
        h = np.minimum(step, t - t_end)
        t_new = np.where(h < t - t_end, t - h, t_end)
        candidate, k_new, error = attempt(slope, t, t_new, x, k, tolerance)
        # a value that is no number ends its sample as it is, for the caller to find
        accept = ((error < 1) | np.isnan(error)) & (h > 0)
        t_new = np.where(np.isnan(error) & (h > 0), t_end, t_new)
        step = np.where(h > 0, (t - t_new) * _factor(error, rejected), step)
        rejected = ~accept & (h > 0)
        x = _chosen(accept, candidate, x)
        k = _chosen(accept, k_new, k)
        t = np.where(accept, t_new, t)
    return x


def _first_step(
    slope: Slope, t: Array, x: Array, k: Array, span: float, tolerance: tuple[float, float]
) -> Array:
    """The length [B] of each sample's first step (Hairer et al., section II.4, algorithm "starting step size")."""
    scale = tolerance[1] + abs(x) * tolerance[0]
    size, speed = _rms(x / scale), _rms(k / scale)
    tiny = (size < 1e-5) | (speed < 1e-5)
    guess = np.where(tiny, 1e-6, 0.01 * size / np.where(tiny, 1.0, speed)).clip(max=span)
    probe = slope(t - guess, x - per_sample_like(x, guess) * k)
    bend = _rms((probe - k) / scale) / guess
    still = (speed <= 1e-15) & (bend <= 1e-15)
    steepest = np.where(still, 1.0, np.maximum(speed, bend))
    length = np.where(still, (guess * 1e-3).clip(min=1e-6), (0.01 / steepest) ** (1 / 5))
    first: Array = np.minimum(100 * guess, length).clip(max=span)
    return first


def attempt(
    slope: Slope, t: Array, t_new: Array, x: Array, k: Array, tolerance: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """The fifth-order candidate, its slope, and the error [B] in units of the tolerance."""
    h = t_new - t
    step = per_sample_like(x, h)
    slopes = [k]
    for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
        slopes.append(slope(t + node * h, x + step * _combine(weights, slopes)))
    candidate = x + step * _combine(_FIFTH, slopes)
    slopes.append(slope(t + h, candidate))
    larger = array_namespace(x).maximum(abs(x), abs(candidate))
    scale = tolerance[1] + larger * tolerance[0]
    error = _rms(step * _combine(_ERROR, slopes) / scale)
    return candidate, slopes[-1], error


def _chosen(accept: Array, new: Array, old: Array) -> Array:
    """The new value of the samples that accept it [B]."""
    if accept.all():
        return new
    chosen: Array = array_namespace(old).where(per_sample_like(old, accept), new, old)
    return chosen


def _combine(weights: tuple[float, ...], slopes: list[Array]) -> Array:
    total = weights[0] * slopes[0]
    for weight, k in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total += weight * k
    return total


def _factor(error: Array, rejected: Array) -> Array:
    """What the step is multiplied with; it does not grow right after a rejection."""
    factor = _SAFETY * np.where(error > 0, error, 1.0) ** _EXPONENT
    accepted = np.where(error > 0, factor.clip(max=_GROW), _GROW)
    accepted = np.where(rejected, accepted.clip(max=1.0), accepted)
    chosen: Array = np.where(error < 1, accepted, factor.clip(min=_SHRINK))
    return chosen


def _rms(x: Array) -> Array:
    """The root mean square [B] of each sample, on the host."""
    flat = x.reshape(x.shape[0], -1)
    return on_host((flat * flat).mean(axis=1) ** 0.5)
