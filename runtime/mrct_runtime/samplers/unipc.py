"""UniPC of order 2 with B(h) = e^h - 1, predicting data (Zhao et al. 2023, algorithms 5 to 8), in sigma."""

from __future__ import annotations

import math
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
class UnifiedPredictorCorrector(InSigma):
    """The predictor is DPM-Solver++(2M)'s step; the corrector takes it again with D of its own result.

    That evaluation is the one which the next step begins with anyway, so `steps` levels take one evaluation each.
    The last step is D.
    """

    name: ClassVar[str] = "unipc"

    steps: int = 20
    grid: GridName = "log-snr"
    sigma_min: float | None = None

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
        x0, slope, h_before = predict(x, sigma), None, 1.0
        for smaller in following:
            h = math.log(sigma / smaller)
            gain = -math.expm1(-h)
            straight = (1 - gain) * x + gain * x0
            x = straight if slope is None else straight + gain * h / 2 * slope
            ahead = predict(x, smaller)
            if slope is None:
                corrected = gain / 2 * (ahead - x0)
            else:
                on_past, on_ahead = corrector_weights(h, h_before)
                corrected = gain * (on_past * h * slope + on_ahead * (ahead - x0))
            slope, h_before = (ahead - x0) / h, h
            x, x0, sigma = straight + corrected, ahead, smaller
        return x0


def corrector_weights(h: float, h_before: float) -> tuple[float, float]:
    """(a, b) with which D_0 + a h slope + b (D_ahead - D_0) steps as exactly as if D were quadratic in lambda = -ln sigma.

    With m_k = integral_0^h e^(u - h) (u / h)^k du / (1 - e^-h) they solve a + b = m_1 and b - a h_before / h = m_2
    (their R_2(h) a = B(h)^-1 phi_2(h)).
    """
    gain = -math.expm1(-h)
    m1 = 1 / gain - 1 / h
    m2 = 1 / gain - 2 / h * m1
    on_past = (m1 - m2) / (1 + h_before / h)
    return on_past, m1 - on_past
