"""One view of both families: x / alpha = x_0 + sigma z, with sigma = std / alpha (Karras et al. 2022, section 2).

In it a network is a denoiser D(x; sigma), its best guess of x_0, and every fast sampler is one loop. A network that was
trained at discrete times is asked between them, where its schedule is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Process
from mrct_runtime.samplers.checks import (
    check_choice,
    check_family,
    check_positive,
    check_positive_integer,
    check_trained_at,
)

GridName = Literal["karras", "log-snr", "uniform"]
DataPrediction: TypeAlias = Callable[[Array, float], Array]
"""D(x; sigma) [B, 1, H, W] from x = x_0 + sigma z, in an array of its own."""

LEAST_TIME = 1e-3
"""Where the last step starts, that is D alone: sigma is 0.01 there for DDPM and 0.032 for VE-SDE. The published samplers of
both stop here; of the times below, a VE-SDE network has seen one in a thousand training images."""

_RHO = 7.0


def enter(process: Process, x: Array) -> Array:
    """x / alpha(t_max), the prior in this view."""
    return x / process.alpha(process.t_max)


def data_prediction(denoise: Denoiser, process: Process) -> DataPrediction:
    """D(x; sigma) = x - sigma eps(alpha x, t(sigma))."""

    def predict(x: Array, sigma: float) -> Array:
        t = min(process.time(sigma), process.t_max)
        return x - sigma * denoise(process.alpha(t) * x, t)

    return predict


def sigma_at(process: Process, t: float) -> float:
    """std(t) / alpha(t)."""
    return process.std(t) / process.alpha(t)


def least_sigma(process: Process, levels: int, grid: GridName, sigma_min: float | None) -> float:
    """The last level: `sigma_min`, or where it is None that of t = 0.001 if trained so low; uniform then has t = 1/K."""
    if sigma_min is not None:
        return sigma_min
    if grid == "uniform":
        return sigma_at(process, process.t_max / levels)
    return sigma_at(process, max(LEAST_TIME, process.t_min))


def sigmas(
    process: Process, levels: int, grid: GridName, sigma_min: float | None = None
) -> tuple[float, ...]:
    """The K levels, falling from the prior's sigma to the least; the prior's alone for K = 1.

    karras: sigma^(1/7) is linear (Karras et al. 2022, equation 5). log-snr: ln sigma is (Lu et al. 2022, section 3.3).
    uniform: t is.
    """
    first = sigma_at(process, process.t_max)
    if levels == 1:
        return (first,)
    last = least_sigma(process, levels, grid, sigma_min)
    inner = (_between(process, first, last, grid, k / (levels - 1)) for k in range(1, levels - 1))
    return (first, *inner, last)


def _between(process: Process, first: float, last: float, grid: GridName, part: float) -> float:
    match grid:
        case "karras":
            start, end = first ** (1 / _RHO), last ** (1 / _RHO)
            return float((start + part * (end - start)) ** _RHO)
        case "log-snr":
            return float(first * (last / first) ** part)
        case "uniform":
            t = process.t_max + part * (process.time(last) - process.t_max)
            return sigma_at(process, t)


class InSigma:
    """What samplers in this view have in common: both families, their options and what these are checked for."""

    families: ClassVar[tuple[type[DDPM], type[VESDE]]] = (DDPM, VESDE)

    steps: int
    grid: GridName
    sigma_min: float | None

    def __post_init__(self) -> None:
        check_options(self.steps, self.grid, self.sigma_min)

    @property
    def levels(self) -> int:
        """Noise levels: one for each evaluation."""
        return self.steps

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family, or is not trained at the last level."""
        check_family(self, process)
        check_range(process, self.levels, self.grid, self.sigma_min)

    def sigmas(self, process: Process) -> tuple[float, ...]:
        """The levels, falling from the prior's sigma to the least."""
        return sigmas(process, self.levels, self.grid, self.sigma_min)


def check_options(steps: int, grid: GridName, sigma_min: float | None) -> None:
    """UsageError for a grid that makes no sense."""
    check_positive_integer("steps", steps)
    check_choice("grid", grid, GridName)
    if sigma_min is not None:
        check_positive("sigma_min", sigma_min)


def check_range(process: Process, levels: int, grid: GridName, sigma_min: float | None) -> None:
    """UsageError where the last level lies below those that the network was trained at, or above the prior's."""
    if levels == 1:
        return
    last = least_sigma(process, levels, grid, sigma_min)
    low, high = sigma_at(process, process.t_min), sigma_at(process, process.t_max)
    if grid == "uniform" and sigma_min is None:
        check_trained_at(process.t_max / levels, process)
    elif not low <= last < high:
        own = f"sigma_min, here that of t = {max(LEAST_TIME, process.t_min):g},"
        name = own if sigma_min is None else "sigma_min"
        raise UsageError(
            f"{name} must lie between {low:.4g}, the least that this model was trained at, and {high:.4g}, "
            f"its prior's, got {last:g}"
        )
