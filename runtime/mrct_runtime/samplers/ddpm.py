"""Ancestral sampling of a DDPM (Ho et al. 2020, algorithm 2, in its posterior form)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, Process
from mrct_runtime.samplers.checks import (
    check_choice,
    check_family,
    check_flag,
    check_positive_integer,
)

Variance = Literal["fixed-small", "fixed-large"]


@dataclass(frozen=True)
class Ancestral:
    """x <- c0 x0_hat + c1 x + sigma z down the (respaced) chain; the last step is noise-free.

    `steps` levels of one evaluation each. `clip_x0` holds x0_hat in the data range [0, 1] at every level
    but the last, whose x0_hat is the sample: samples are averaged first and clamped after, or air would be biased.
    `variance` is the posterior's ("fixed-small", as published) or beta ("fixed-large"), which keeps the spread
    of narrow pixels better.
    """

    name: ClassVar[str] = "ddpm"
    families: ClassVar[tuple[type[DDPM]]] = (DDPM,)

    steps: int = 1000
    variance: Variance = "fixed-small"
    clip_x0: bool = True

    def __post_init__(self) -> None:
        check_positive_integer("steps", self.steps)
        check_choice("variance", self.variance, Variance)
        check_flag("clip_x0", self.clip_x0)

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family or has fewer levels than `steps`."""
        check_family(self, process)
        if isinstance(process, DDPM) and self.steps > process.levels:
            raise UsageError(
                f"this model has {process.levels} noise levels, --steps {self.steps} asks for more"
            )

    def __call__(self, denoise: Denoiser, process: DDPM, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x; not clipped at the end."""
        self.check(process)
        for level in process.respaced(self.steps):
            eps = denoise(x, level.t)
            x0 = (x - math.sqrt(1 - level.abar) * eps) / math.sqrt(level.abar)
            last = level.abar_prev == 1
            if self.clip_x0 and not last:
                x0 = x0.clip(0, 1)
            on_x0 = math.sqrt(level.abar_prev) * level.beta / (1 - level.abar)
            on_x = math.sqrt(1 - level.beta) * (1 - level.abar_prev) / (1 - level.abar)
            x = on_x0 * x0 + on_x * x
            if not last:
                small = self.variance == "fixed-small"
                x = x + math.sqrt(level.posterior_variance if small else level.beta) * noise()
        return x
