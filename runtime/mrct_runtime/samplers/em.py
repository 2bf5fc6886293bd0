"""Euler-Maruyama on the reverse-time VE-SDE (Song et al. 2021; the paper's equation 30, corrected)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.process import VESDE, Process
from mrct_runtime.samplers.checks import (
    check_choice,
    check_family,
    check_flag,
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
class EulerMaruyama:
    """x <- x + g^2 s dt + g sqrt(dt) z on a uniform grid from 1 to eps; returns the mean of the last step.

    `steps` evaluations. `eps` is t_max/steps where it is not given; outside 0.6 to 1.6 of that it is refused, because the
    last step then leaves noise, unless `allow_residual_noise`. `predictor` "reverse-diffusion" ends in a full denoise.
    """

    name: ClassVar[str] = "em"
    families: ClassVar[tuple[type[VESDE]]] = (VESDE,)

    steps: int = 1000
    eps: float | None = None
    predictor: PredictorName = "euler-maruyama"
    allow_residual_noise: bool = False

    def __post_init__(self) -> None:
        check_positive_integer("steps", self.steps)
        check_choice("predictor", self.predictor, PredictorName)
        check_flag("allow_residual_noise", self.allow_residual_noise)
        self._check_eps(1.0)

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family, or is not trained at the last level's time."""
        check_family(self, process)
        self._check_eps(process.t_max)
        check_trained_at(smallest_time(process, self.steps, self.eps), process)

    def __call__(self, denoise: Denoiser, process: VESDE, x: Array, noise: NoiseSource) -> Array:
        """A sample of p(x_0 | y) [B, 1, H, W] from the prior x."""
        self.check(process)
        step = PREDICTORS[self.predictor]
        mean = x
        for k, (t, t_next) in enumerate(self._levels(process)):
            gain, deviation = step(process, t, t_next)
            mean = x - gain * denoise(x, t)
            if k < self.steps - 1:
                x = mean + deviation * noise()
        return mean

    def _levels(self, process: VESDE) -> tuple[tuple[float, float], ...]:
        return uniform_levels(process, self.steps, self.eps, self.predictor)

    def _check_eps(self, t_max: float) -> None:
        check_eps(
            self.eps,
            self.steps,
            self.predictor,
            allow_residual_noise=self.allow_residual_noise,
            t_max=t_max,
        )
