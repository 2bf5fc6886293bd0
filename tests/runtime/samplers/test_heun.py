from __future__ import annotations

import numpy as np
import pytest
import torch
from replayed import SHAPE, fresh_noise, network, ours, quiet, tensor

from mrct_runtime.process import DDPM, VESDE, Process
from mrct_runtime.samplers.heun import Heun
from mrct_runtime.samplers.sigma_space import sigmas


@quiet
@pytest.mark.parametrize("process", [VESDE(), DDPM()])
@pytest.mark.parametrize("grid", ["karras", "log-snr"])
def test_every_evaluation_agrees_with_diffusers(process: Process, grid: str) -> None:
    from diffusers import HeunDiscreteScheduler

    levels = torch.tensor([*sigmas(process, 10, grid), 0.0], dtype=torch.float64)
    scheduler = HeunDiscreteScheduler(beta_schedule="linear")
    scheduler.set_timesteps(10)
    scheduler.sigmas = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    eps = network(process)
    x, expected = process.std(1.0) / process.alpha(1.0) * fresh_noise()(), []
    # each evaluation is at the level that the scheduler steps to
    met = [levels[0], *levels[1:-1].repeat_interleave(2)]
    for t, sigma in zip(scheduler.timesteps, met, strict=True):
        expected.append(x)
        at = min(process.time(sigma.item()), 1.0)
        found = scheduler.step(tensor(eps(process.alpha(at) * x, at)), t, tensor(x))
        x = found.prev_sample.double().numpy()
    for mine, other in zip(ours(Heun(19, grid=grid), process), [*expected, x], strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5 * max(1.0, abs(other).max()))


@pytest.mark.parametrize("steps", [1, 2, 3, 18, 19, 35, 36])
def test_it_takes_the_evaluations_asked_for(steps: int) -> None:
    assert len(ours(Heun(steps), VESDE())) == steps + 1
    assert ours(Heun(steps), VESDE())[-1].shape == SHAPE
