"""DDIM (Song, Meng & Ermon 2021, equation 12), in sigma: the first-order solver of either family."""

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
class DenoisingImplicit(InSigma):
    """x <- D + sqrt(sigma'^2 - v) (x - D) / sigma + sqrt(v) z, with v = eta^2 sigma'^2 (1 - sigma'^2 / sigma^2).

    `steps` levels of one evaluation each; the last step is D. `eta` 0 is Euler's method on the probability-flow ODE,
    random in its prior alone; 1 is ancestral sampling with the posterior's variance.
    """

    name: ClassVar[str] = "ddim"

    steps: int = 50
    eta: float = 0.0
    grid: GridName = "log-snr"
    sigma_min: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise UsageError(f"eta of ddim must lie between 0 and 1, got {self.eta}")

    def __call__(self, denoise: Denoiser, process: Process, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x; not clipped."""
        self.check(process)
        predict, x = data_prediction(denoise, process), enter(process, x)
        sigma, *following = self.sigmas(process)
        for smaller in following:
            x0 = predict(x, sigma)
            variance = self.eta**2 * smaller**2 * (1 - (smaller / sigma) ** 2)
            x = x0 + math.sqrt(smaller**2 - variance) / sigma * (x - x0)
            if variance:
                x = x + math.sqrt(variance) * noise()
            sigma = smaller
        return predict(x, sigma)
