from __future__ import annotations

import numpy as np
import pytest
import torch
from replayed import ours, quiet, tensor, theirs
from scipy.integrate import quad

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM
from mrct_runtime.samplers.sigma_space import sigmas
from mrct_runtime.samplers.unipc import UnifiedPredictorCorrector, corrector_weights


@quiet
@pytest.mark.parametrize("grid", ["karras", "log-snr", "uniform"])
@pytest.mark.parametrize("steps", [5, 20])
def test_every_step_agrees_with_diffusers(grid: str, steps: int) -> None:
    from diffusers import UniPCMultistepScheduler

    levels = [*sigmas(DDPM(), steps, grid), 0.0]
    scheduler = UniPCMultistepScheduler(
        beta_schedule="linear", solver_order=2, solver_type="bh2", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor(levels, dtype=torch.float64)

    def step(t, eps, x, _z):
        return scheduler.step(tensor(eps), t, tensor(x)).prev_sample.double().numpy()

    sampler = UnifiedPredictorCorrector(steps, grid=grid)
    expected = theirs(scheduler, levels, step)
    for mine, other in zip(ours(sampler, DDPM()), expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5 * max(1.0, abs(other).max()))


@pytest.mark.parametrize(("h", "h_before"), [(0.5, 0.5), (1.3, 0.4), (0.02, 0.03)])
def test_the_corrector_is_exact_where_the_denoised_image_is_quadratic_in_lambda(
    h: float, h_before: float
) -> None:
    def denoised(u: float) -> float:
        return 0.3 + 0.7 * u - 1.1 * u**2

    exact, _ = quad(lambda u: np.exp(u - h) * denoised(u), 0, h)
    on_past, on_ahead = corrector_weights(h, h_before)
    past = (denoised(0) - denoised(-h_before)) * h / h_before
    ahead = denoised(h) - denoised(0)
    gain = 1 - np.exp(-h)
    assert gain * (denoised(0) + on_past * past + on_ahead * ahead) == pytest.approx(
        exact, rel=1e-9
    )


def test_no_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="got 0"):
        UnifiedPredictorCorrector(0)
