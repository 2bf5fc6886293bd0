from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from replayed import ours, quiet, tensor, theirs

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM
from mrct_runtime.samplers.dpmpp import MultistepDPM
from mrct_runtime.samplers.sigma_space import sigmas


@quiet
@pytest.mark.parametrize("grid", ["karras", "log-snr", "uniform"])
@pytest.mark.parametrize(("eta", "kind"), [(0.0, "dpmsolver++"), (1.0, "sde-dpmsolver++")])
def test_every_step_agrees_with_diffusers_on_replayed_noise(
    grid: str, eta: float, kind: str
) -> None:
    from diffusers import DPMSolverMultistepScheduler

    sampler, steps = MultistepDPM(20, eta=eta, grid=grid), 20
    levels = [*sigmas(DDPM(), steps, grid), 0.0]
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="linear", algorithm_type=kind, solver_order=2, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor(levels, dtype=torch.float64)

    def step(t, eps, x, z):
        told = scheduler.step(tensor(eps), t, tensor(x), variance_noise=tensor(z))
        return told.prev_sample.double().numpy()

    for mine, other in zip(ours(sampler, DDPM()), theirs(scheduler, levels, step), strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5 * max(1.0, abs(other).max()))


@pytest.mark.parametrize("options", [{"steps": 0}, {"eta": -1.0}, {"eta": math.inf}])
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        MultistepDPM(**options)
