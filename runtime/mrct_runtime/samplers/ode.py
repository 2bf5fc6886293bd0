"""The probability-flow ODE by Dormand-Prince 5(4), each sample with its own step (Song et al. 2021, appendix D.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource, per_sample_like
from mrct_runtime.errors import UsageError
from mrct_runtime.process import VESDE, Process
from mrct_runtime.samplers.checks import (
    check_family,
    check_flag,
    check_positive,
    check_positive_integer,
    check_trained_at,
)
from mrct_runtime.samplers.dormand_prince import integrate


@dataclass(frozen=True)
class ProbabilityFlow:
    """dx/dt = -1/2 S^2t s from 1 to eps, then one denoise x + std^2 s.

    Without `denoise` a noise of deviation std(eps) stays in every pixel. The error of a step, and so the step, is each
    sample's own: a result does not depend on its batch. `steps` caps the evaluations; the solver takes as many as
    `rtol` and `atol` ask for.
    """

    name: ClassVar[str] = "ode"
    families: ClassVar[tuple[type[VESDE]]] = (VESDE,)

    steps: int = 1000
    eps: float = 1e-3
    rtol: float = 1e-5
    atol: float = 1e-5
    denoise: bool = True

    def __post_init__(self) -> None:
        check_positive_integer("steps", self.steps)
        check_positive("rtol", self.rtol)
        check_positive("atol", self.atol)
        check_flag("denoise", self.denoise)
        if not 0 < self.eps < 1:
            raise UsageError(f"eps must lie between 0 and 1, got {self.eps}")

    @property
    def evaluations(self) -> int:
        """The most network evaluations a sample may take."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family, or is not trained at `eps`."""
        check_family(self, process)
        check_trained_at(self.eps, process)
        if self.eps >= process.t_max:
            raise UsageError(f"eps must lie below the start, t = {process.t_max:g}, got {self.eps}")

    def __call__(
        self,
        denoise: Denoiser,
        process: VESDE,
        x: Array,
        noise: NoiseSource,  # noqa: ARG002 - only the prior is random
    ) -> Array:
        """A sample of p(x_0 | y) float64 [B, 1, H, W] from the prior x."""
        self.check(process)

        def slope(t: Array, x: Array) -> Array:
            gain = [process.g(at) ** 2 / (2 * process.std(at)) for at in t.tolist()]
            return per_sample_like(x, gain) * denoise(x, t)

        x = integrate(
            slope,
            process.t_max,
            self.eps,
            x.astype("float64"),
            tolerance=(self.rtol, self.atol),
            max_evaluations=self.steps - self.denoise,
        )
        if self.denoise:
            x = x - process.std(self.eps) * denoise(x, self.eps)
        return x
