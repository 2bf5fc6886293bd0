from __future__ import annotations

import math

import numpy as np
import pytest
from replayed import ours, tensor, theirs
from sampler_oracles import ddpm_oracle
from sigma_oracles import ddim_oracle

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM
from mrct_runtime.samplers.ddim import DenoisingImplicit
from mrct_runtime.samplers.ddpm import Ancestral
from mrct_runtime.samplers.sigma_space import sigmas


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_step_agrees_with_diffusers_on_replayed_noise(eta: float) -> None:
    from diffusers import DDIMScheduler

    sampler = DenoisingImplicit(50, eta=eta, grid="uniform")
    scheduler = DDIMScheduler(
        beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(50)
    levels = [*sigmas(DDPM(), 50, "uniform"), 0.0]

    def step(t, eps, x, z):
        told = scheduler.step(tensor(eps), int(t), tensor(x), eta=eta, variance_noise=tensor(z))
        return told.prev_sample.numpy()

    for mine, other in zip(ours(sampler, DDPM()), theirs(scheduler, levels, step), strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5 * max(1.0, abs(other).max()))


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_eta_one_is_ancestral_sampling_with_the_posteriors_variance(steps: int) -> None:
    m, s2 = np.array([0.4]), np.array([0.04])
    ancestral = ddpm_oracle(Ancestral(steps, "fixed-small"), DDPM(), m, s2)
    implicit = ddim_oracle(DenoisingImplicit(steps, eta=1.0, grid="uniform"), DDPM(), m, s2)
    assert implicit.mean.item() == pytest.approx(ancestral.mean.item(), rel=1e-9)
    assert implicit.variance.item() == pytest.approx(ancestral.variance.item(), rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"eta": -0.1},
        {"eta": 1.1},
        {"eta": math.nan},
        {"grid": "cosine"},
        {"sigma_min": 0.0},
        {"sigma_min": math.inf},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        DenoisingImplicit(**options)
