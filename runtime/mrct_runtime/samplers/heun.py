"""Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1), in sigma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.process import Process
from mrct_runtime.samplers.sigma_space import (
    GridName,
    InSigma,
    data_prediction,
    enter,
)


@dataclass(frozen=True)
class Heun(InSigma):
    """dx/dsigma = (x - D) / sigma, each step with the mean of the slopes at its two ends; the last step is D.

    `steps` counts evaluations: K levels take 2K - 1. An even number makes the first step Euler's, where the path is
    straightest: one step does not lower the order 2.
    """

    name: ClassVar[str] = "heun"

    steps: int = 35
    grid: GridName = "log-snr"
    sigma_min: float | None = None

    @property
    def levels(self) -> int:
        """Noise levels: the evaluations of the last is one, that of the others two, but for an Euler step."""
        return self.steps // 2 + 1

    def __call__(
        self,
        denoise: Denoiser,
        process: Process,
        x: Array,
        noise: NoiseSource,  # noqa: ARG002 - only the prior is random
    ) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x; not clipped."""
        self.check(process)
        predict, x = data_prediction(denoise, process), enter(process, x)
        sigma, *following = self.sigmas(process)
        euler = self.steps % 2 == 0
        for smaller in following:
            slope = (x - predict(x, sigma)) / sigma
            ahead = x + (smaller - sigma) * slope
            if not euler:
                slope = (slope + (ahead - predict(ahead, smaller)) / smaller) / 2
                ahead = x + (smaller - sigma) * slope
            x, sigma, euler = ahead, smaller, False
        return predict(x, sigma)
