"""Predictor-corrector on the reverse-time VE-SDE, in the order of Song et al.'s code: corrector first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource, per_sample
from mrct_runtime.errors import UsageError
from mrct_runtime.process import VESDE, Process
from mrct_runtime.samplers.checks import (
    check_choice,
    check_family,
    check_flag,
    check_positive,
    check_positive_integer,
    check_trained_at,
)
from mrct_runtime.samplers.predictors import (
    PREDICTORS,
    PredictorName,
    check_eps,
    smallest_time,
    uniform_levels,
)


@dataclass(frozen=True)
class PredictorCorrector:
    """At each level Langevin steps x <- x + e s + sqrt(2e) z, then one predictor step; returns its last mean.

    e = 2 (r sqrt(d) / |s_b|)^2 with the score's norm of each sample b on its own, r = `snr`. `steps` counts network
    evaluations: with one corrector a level 1000 evaluations are 500 levels, as in the paper.
    """

    name: ClassVar[str] = "pc"
    families: ClassVar[tuple[type[VESDE]]] = (VESDE,)

    steps: int = 1000
    eps: float | None = None
    predictor: PredictorName = "euler-maruyama"
    correctors: int = 1
    snr: float = 0.16
    allow_residual_noise: bool = False

    def __post_init__(self) -> None:
        check_positive_integer("steps", self.steps)
        check_positive_integer("correctors", self.correctors)
        check_positive("snr", self.snr)
        check_choice("predictor", self.predictor, PredictorName)
        a_level = 1 + self.correctors
        if self.steps % a_level:
            raise UsageError(
                f"steps {self.steps} is no multiple of the {a_level} evaluations of a level "
                f"(one predictor, {self.correctors} corrector)"
            )
        check_flag("allow_residual_noise", self.allow_residual_noise)
        self._check_eps(1.0)

    @property
    def levels(self) -> int:
        """Noise levels, of one predictor step and `correctors` Langevin steps each."""
        return self.steps // (1 + self.correctors)

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family, or is not trained at the last level's time."""
        check_family(self, process)
        self._check_eps(process.t_max)
        check_trained_at(smallest_time(process, self.levels, self.eps), process)

    def __call__(self, denoise: Denoiser, process: VESDE, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x."""
        self.check(process)
        step = PREDICTORS[self.predictor]
        mean = x
        for k, (t, t_next) in enumerate(self._levels(process)):
            for _ in range(self.correctors):
                x = self._langevin(x, denoise(x, t), process.std(t), noise())
            gain, deviation = step(process, t, t_next)
            mean = x - gain * denoise(x, t)
            if k < self.levels - 1:
                x = mean + deviation * noise()
        return mean

    def _langevin(self, x: Array, eps: Array, std: float, z: Array) -> Array:
        """x + e s + sqrt(2e) z, s = -eps / std; a mean norm over the batch would couple its samples."""
        flat = eps.reshape(eps.shape[0], -1)
        mean_square_score = (flat * flat).mean(axis=1) / std**2
        step = 2 * self.snr**2 / mean_square_score
        moved: Array = x - per_sample(step / std) * eps + per_sample(math.sqrt(2) * step**0.5) * z
        return moved

    def _levels(self, process: VESDE) -> tuple[tuple[float, float], ...]:
        return uniform_levels(process, self.levels, self.eps, self.predictor)

    def _check_eps(self, t_max: float) -> None:
        check_eps(
            self.eps,
            self.levels,
            self.predictor,
            allow_residual_noise=self.allow_residual_noise,
            t_max=t_max,
        )
