"""Dormand-Prince 5(4) over a batch in which every sample has its own time, step and error.

The pair of Dormand & Prince 1980 with the controller of Hairer, Norsett & Wanner, "Solving ordinary differential
equations I", section II.4: the choices of scipy's RK45, so that one sample alone takes the very same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mrct_runtime.arrays import Array, per_sample
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
    that is not finite. NumericError where
    the slowest sample asks for more than `max_evaluations`.
    """
    xp = x.__array_namespace__()
    t = xp.full(x.shape[0], t_start)
    k = slope(t, x)
    step = _first_step(slope, t, x, k, t_start - t_end, tolerance)
    step = xp.where(step > 0, step, t_start - t_end)
    rejected = xp.zeros(x.shape[0], dtype=bool)
    evaluations = 2
    while bool((t > t_end).any()):
        evaluations += _EVALUATIONS_A_STEP
        if evaluations > max_evaluations:
            raise NumericError(
                f"the ODE needs more than {max_evaluations} evaluations at rtol {tolerance[0]:g}, "
                f"atol {tolerance[1]:g} (reached t = {float(t.max()):.4g}): allow more steps or loosen rtol and atol"
            )
        h = xp.minimum(step, t - t_end)
        t_new = xp.where(h < t - t_end, t - h, t_end)
        candidate, k_new, error = attempt(slope, t, t_new, x, k, tolerance)
        # a value that is no number ends its sample as it is, for the caller to find
        accept = ((error < 1) | xp.isnan(error)) & (h > 0)
        t_new = xp.where(xp.isnan(error) & (h > 0), t_end, t_new)
        step = xp.where(h > 0, (t - t_new) * _factor(error, rejected), step)
        rejected = ~accept & (h > 0)
        x = xp.where(per_sample(accept), candidate, x)
        k = xp.where(per_sample(accept), k_new, k)
        t = xp.where(accept, t_new, t)
    return x


def _first_step(
    slope: Slope, t: Array, x: Array, k: Array, span: float, tolerance: tuple[float, float]
) -> Array:
    """The length [B] of each sample's first step (Hairer et al., section II.4, algorithm "starting step size")."""
    xp = x.__array_namespace__()
    scale = tolerance[1] + abs(x) * tolerance[0]
    size, speed = _rms(x / scale), _rms(k / scale)
    tiny = (size < 1e-5) | (speed < 1e-5)
    guess = xp.where(tiny, 1e-6, 0.01 * size / xp.where(tiny, 1.0, speed)).clip(max=span)
    probe = slope(t - guess, x - per_sample(guess) * k)
    bend = _rms((probe - k) / scale) / guess
    still = (speed <= 1e-15) & (bend <= 1e-15)
    steepest = xp.where(still, 1.0, xp.maximum(speed, bend))
    length = xp.where(still, (guess * 1e-3).clip(min=1e-6), (0.01 / steepest) ** (1 / 5))
    first: Array = xp.minimum(100 * guess, length).clip(max=span)
    return first


def attempt(
    slope: Slope, t: Array, t_new: Array, x: Array, k: Array, tolerance: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """The fifth-order candidate, its slope, and the error [B] in units of the tolerance."""
    h = t_new - t
    slopes = [k]
    for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
        slopes.append(slope(t + node * h, x + per_sample(h) * _combine(weights, slopes)))
    candidate = x + per_sample(h) * _combine(_FIFTH, slopes)
    slopes.append(slope(t + h, candidate))
    xp = x.__array_namespace__()
    scale = tolerance[1] + xp.maximum(abs(x), abs(candidate)) * tolerance[0]
    error = _rms(per_sample(h) * _combine(_ERROR, slopes) / scale)
    return candidate, slopes[-1], error


def _combine(weights: tuple[float, ...], slopes: list[Array]) -> Array:
    total = weights[0] * slopes[0]
    for weight, k in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total += weight * k
    return total


def _factor(error: Array, rejected: Array) -> Array:
    """What the step is multiplied with; it does not grow right after a rejection."""
    xp = error.__array_namespace__()
    factor = _SAFETY * xp.where(error > 0, error, 1.0) ** _EXPONENT
    accepted = xp.where(error > 0, factor.clip(max=_GROW), _GROW)
    accepted = xp.where(rejected, accepted.clip(max=1.0), accepted)
    chosen: Array = xp.where(error < 1, accepted, factor.clip(min=_SHRINK))
    return chosen


def _rms(x: Array) -> Array:
    """The root mean square [B] of each sample."""
    flat = x.reshape(x.shape[0], -1)
    root: Array = (flat * flat).mean(axis=1) ** 0.5
    return root
