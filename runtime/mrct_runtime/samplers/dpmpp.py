"""DPM-Solver++(2M) and its SDE variant (Lu et al. 2022b, algorithm 2 and appendix D), in sigma."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Process
from mrct_runtime.samplers.sigma_space import (
    GridName,
    InSigma,
    data_prediction,
    enter,
)


@dataclass(frozen=True)
class MultistepDPM(InSigma):
    """x <- e^-(1 + eta)h x + (1 - e^-(1 + eta)h) D' + sigma' sqrt(1 - e^-2 eta h) z, with h = ln(sigma / sigma').

    D' = D + (D - D_previous) h / (2 h_previous) is D extrapolated to the middle of the step, D alone in the first.
    `steps` levels of one evaluation each; the last step is D. `eta` 0 solves the probability-flow ODE with order 2,
    1 the reverse-time SDE, whose noise forgets earlier errors.
    """

    name: ClassVar[str] = "dpmpp"

    steps: int = 20
    eta: float = 0.0
    grid: GridName = "log-snr"
    sigma_min: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.eta) and self.eta >= 0):
            raise UsageError(f"eta of dpmpp must be finite and at least 0, got {self.eta}")

    def __call__(self, denoise: Denoiser, process: Process, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x; not clipped."""
        self.check(process)
        predict, x = data_prediction(denoise, process), enter(process, x)
        sigma, *following = self.sigmas(process)
        before: tuple[Array, float] | None = None
        for smaller in following:
            h, x0 = math.log(sigma / smaller), predict(x, sigma)
            middle = x0 if before is None else x0 + h / (2 * before[1]) * (x0 - before[0])
            gain = -math.expm1(-(1 + self.eta) * h)
            x = (1 - gain) * x + gain * middle
            if self.eta:
                x = x + smaller * math.sqrt(-math.expm1(-2 * self.eta * h)) * noise()
            before, sigma = (x0, h), smaller
        return predict(x, sigma)
