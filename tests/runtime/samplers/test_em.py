from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sampler_oracles import em_oracle

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM, VESDE
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.predictors import PREDICTORS, PredictorName, uniform_levels


def test_eps_is_one_over_the_steps_by_default_so_the_last_step_ends_at_zero() -> None:
    for steps in (1, 10, 1000):
        t, t_next = uniform_levels(VESDE(), steps, None)[-1]
        assert t == pytest.approx(1 / steps)
        assert t_next == pytest.approx(0, abs=1e-12)


def test_the_published_grid_is_linspace() -> None:
    times = [t for t, _ in uniform_levels(VESDE(), 1000, 1e-3)]
    np.testing.assert_allclose(times, np.linspace(1, 1e-3, 1000), rtol=1e-12)


def mean_after(predictor: str, steps: int, t_end: float = 0.2) -> tuple[float, float]:
    """The mean from 3 at t = 1 to t_end by the predictor's gains alone, and its exact value."""
    process, s, m = VESDE(), 0.3, 0.4
    eps = Analytic(process, deviation=lambda y: np.full_like(y, s)).bind(np.full((1, 1, 1, 1), m))
    x = np.full((1, 1, 1, 1), 3.0)
    for k in range(steps):
        t, t_next = (1 - (1 - t_end) * i / steps for i in (k, k + 1))
        x = x - PREDICTORS[predictor](process, t, t_next)[0] * eps(x, t)
    kept = (s**2 + process.std(t_end) ** 2) / (s**2 + process.std(1.0) ** 2)
    return x.item(), m + (3.0 - m) * kept


def test_euler_maruyamas_mean_converges_with_order_one() -> None:
    errors = []
    for steps in (100, 200, 400):
        found, exact = mean_after("euler-maruyama", steps)
        errors.append(abs(found - exact))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(0.9 < order < 1.1 for order in orders)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_reverse_diffusions_mean_is_exact_for_a_gaussian_at_any_step(steps: int) -> None:
    found, exact = mean_after("reverse-diffusion", steps)
    assert found == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("predictor", list(PREDICTORS))
def test_the_variance_converges_with_order_one(predictor: PredictorName) -> None:
    s2 = np.array([0.3**2])
    errors = []
    for steps in (250, 500, 1000):
        built = EulerMaruyama(steps, predictor=predictor)
        found = em_oracle(built, VESDE(), np.array([0.0]), s2).variance
        errors.append(abs(found - s2).item())
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(0.85 < order < 1.3 for order in orders)


@pytest.mark.parametrize(
    ("steps", "eps"), [(500, 1e-3), (100, 1e-3), (1000, 5.9e-4), (1000, 0.01), (2000, 1e-3)]
)
def test_an_eps_that_leaves_noise_is_refused(steps: int, eps: float) -> None:
    with pytest.raises(UsageError, match="leaves noise in the image"):
        EulerMaruyama(steps, eps)
    assert EulerMaruyama(steps, eps, allow_residual_noise=True).steps == steps
    assert EulerMaruyama(steps, eps, predictor="reverse-diffusion").steps == steps


def test_the_published_eps_is_taken() -> None:
    assert EulerMaruyama(1000, 1e-3).evaluations == 1000


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"predictor": "heun"},
        {"eps": 0.0},
        {"eps": 1.5},
        {"allow_residual_noise": "false"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        EulerMaruyama(**options)


@pytest.mark.parametrize("eps", [1e-4, 0.01, 0.5])
def test_reverse_diffusion_ends_in_a_full_denoise_at_any_eps(eps: float) -> None:
    process, steps = VESDE(), 100
    noise = Noise(0, "", [(0, 0)], (64, 64))
    denoise = Analytic(process, deviation=np.zeros_like).bind(np.full((1, 1, 64, 64), 0.4))
    built = EulerMaruyama(steps, eps, predictor="reverse-diffusion")
    found = built(denoise, process, process.std(1.0) * noise(), noise)
    np.testing.assert_allclose(found, 0.4, atol=1e-5)


def test_times_below_those_trained_at_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a model trained there"):
        EulerMaruyama(200_000).check(VESDE())
    with pytest.raises(
        UsageError, match="sampler em needs a VESDE model, this one is a DDPM model"
    ):
        EulerMaruyama(100).check(DDPM())
