from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from mrct_runtime.denoisers import observed
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM
from mrct_runtime.samplers.ddpm import Ancestral


def silent() -> np.ndarray:
    return np.zeros((1, 1, 4, 4))


@pytest.mark.parametrize("variance", ["fixed-small", "fixed-large"])
def test_every_step_agrees_with_diffusers_on_replayed_noise(variance: str, monkeypatch) -> None:
    from diffusers import DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    process, batch = DDPM(), (2, 1, 16, 16)
    engine = Analytic(process, deviation=lambda y: np.full_like(y, 0.2))
    eps = engine.bind(np.full(batch, 0.4))
    rows = [(0, 0), (0, 1)]
    ours, theirs = [], []

    def recording(x, t):
        ours.append(np.array(x))
        return eps(x, t)

    noise = Noise(5, "diffusers", rows, batch[2:])
    final = Ancestral(variance=variance, clip_x0=False)(recording, process, noise(), noise)

    replay = Noise(5, "diffusers", rows, batch[2:])
    monkeypatch.setattr(
        scheduling_ddpm, "randn_tensor", lambda *_, **__: torch.from_numpy(replay()).double()
    )
    names = {"fixed-small": "fixed_small", "fixed-large": "fixed_large"}
    scheduler = DDPMScheduler(
        beta_schedule="linear", clip_sample=False, variance_type=names[variance]
    )
    x = torch.from_numpy(replay()).double()
    for step in scheduler.timesteps:
        theirs.append(x.numpy())
        t = (int(step) + 1) / 1000
        x = scheduler.step(torch.from_numpy(eps(x.numpy(), t)), step, x).prev_sample
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=1e-4)
    np.testing.assert_allclose(final, x.numpy(), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 5, 100, 1000])
def test_without_noise_the_mean_is_the_posterior_mean_at_any_number_of_steps(steps: int) -> None:
    process, m, s = DDPM(), 0.4, 0.2
    engine = Analytic(process, deviation=lambda y: np.full_like(y, s))
    x = np.full((1, 1, 4, 4), 1.7)
    found = Ancestral(steps, clip_x0=False)(
        engine.bind(np.full((1, 1, 4, 4), m)), process, x, silent
    )
    root = math.sqrt(process.abar[1000])
    gain = root * s**2 / (process.abar[1000] * s**2 + 1 - process.abar[1000])
    np.testing.assert_allclose(found, m + gain * (x - root * m), atol=1e-9)


def test_the_variance_converges_with_order_one_in_the_steps() -> None:
    from sampler_oracles import ddpm_oracle

    process, s2 = DDPM(), np.array([0.3**2])
    full = ddpm_oracle(Ancestral(1000, "fixed-large"), process, np.array([0.0]), s2).variance
    errors = [
        abs(ddpm_oracle(Ancestral(k, "fixed-large"), process, np.array([0.0]), s2).variance - s2)
        for k in (125, 250, 500)
    ]
    assert abs(full - s2) < errors[-1]
    orders = [math.log2((a / b).item()) for a, b in itertools.pairwise(errors)]
    assert all(0.7 < order < 1.3 for order in orders)


def test_x0_is_held_in_the_data_range_where_asked() -> None:
    process = DDPM()
    far = Analytic(process, deviation=np.zeros_like).bind(np.full((1, 1, 4, 4), 1.4))
    for clip, reached in ((True, 1.0), (False, 1.4)):
        states: list[float] = []
        eps = observed(far, lambda x, _t, states=states: states.append(x.max()))
        Ancestral(10, clip_x0=clip)(eps, process, np.zeros((1, 1, 4, 4)), silent)
        assert states[-1] == pytest.approx(process.alpha(0.1) * reached, rel=0.02)


def test_the_sample_itself_is_not_clipped_so_air_keeps_its_mean() -> None:
    process, s = DDPM(), 0.05
    air = Analytic(process, deviation=lambda y: np.full_like(y, s)).bind(np.zeros((1, 1, 128, 128)))
    noise = Noise(0, "air", [(0, 0)], (128, 128))
    found = Ancestral(50)(air, process, noise(), noise)
    assert found.min() < 0
    assert abs(found.mean()) < 0.05 * s  # clipped at the end it would be .4 s / sqrt(2 pi) or more


def test_more_steps_than_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="1000 noise levels, --steps 2000"):
        Ancestral(2000)(lambda x, t: x, DDPM(), silent(), silent)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": True}, {"variance": "learned"}, {"clip_x0": "no"}]
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        Ancestral(**options)
