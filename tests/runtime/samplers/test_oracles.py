"""Every registered sampler against closed forms (Gaussian pixels, correlated fields, mixtures, certain pixels)."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sampler_oracles import (
    ORACLES,
    PROCESSES,
    em_oracle,
    field_denoiser,
    mixture_denoiser,
    pc_oracle,
    smooth_power,
)
from scipy import stats

from mrct_runtime.arrays import Array
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.noise import Noise
from mrct_runtime.process import VESDE, Direct
from mrct_runtime.samplers import SAMPLERS, Sampler, sampler
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.pc import PredictorCorrector

ALL = list(SAMPLERS)
RANDOM = [name for name in ALL if SAMPLERS[name].process is not Direct]
STEPS = 200


def build(name: str, **options: Any) -> Sampler:
    """The sampler with 200 steps and nothing that breaks linearity."""
    known = {field.name for field in fields(SAMPLERS[name])}
    linear = {"steps": {"ode": 400, "direct": 1}.get(name, STEPS), "clip_x0": False} | options
    return sampler(name, {key: value for key, value in linear.items() if key in known})


def draw(
    built: Sampler, denoise: Any, shape: tuple[int, int, int], prior_mean: float = 0.0
) -> Array:
    """Samples [B, H, W] from the prior N(alpha(1) prior_mean, std(1)^2)."""
    batch, height, width = shape
    noise = Noise(0, "oracle", [(0, k) for k in range(batch)], (height, width))
    process = PROCESSES[built.process]
    x = process.alpha(1.0) * prior_mean + process.std(1.0) * noise()
    return built(denoise, process, x, noise)[:, 0]


def gaussian(built: Sampler, m: float, s: float) -> Any:
    process = PROCESSES[built.process]
    engine = Analytic(process, deviation=lambda y: np.full_like(y, s))
    return engine.bind(np.full((1, 1, 256, 256), m))


def certain(built: Sampler, m: float) -> Any:
    engine = Analytic(PROCESSES[built.process], deviation=np.zeros_like)
    return engine.bind(np.full((1, 1, 256, 256), m))


def test_every_sampler_has_an_oracle() -> None:
    assert set(ORACLES) == set(SAMPLERS)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("m", "s"), [(0.3, 0.1), (0.7, 0.3), (0.5, 0.02)])
def test_gaussian_pixels_have_the_oracles_mean_and_variance(name: str, m: float, s: float) -> None:
    built = build(name)
    x = draw(built, gaussian(built, m, s), (1, 256, 256))
    truth = ORACLES[name](built, PROCESSES[built.process], np.array([m]), np.array([s**2]))
    expected_mean, expected_variance = truth.mean.item(), truth.variance.item()
    assert abs(x.mean() - expected_mean) < 4 * math.sqrt(expected_variance / x.size) + 1e-6
    relative = 4 * math.sqrt(2 / x.size) + 1e-3 * (name == "pc")
    assert abs(x.var() - expected_variance) < relative * expected_variance + 1e-12


@pytest.mark.parametrize("name", ["em", "pc"])
def test_the_reverse_diffusion_predictor_has_the_oracles_moments(name: str) -> None:
    built = build(name, predictor="reverse-diffusion", steps=50)
    x = draw(built, gaussian(built, 0.4, 0.2), (1, 256, 256))
    truth = ORACLES[name](built, PROCESSES[built.process], np.array([0.4]), np.array([0.04]))
    assert abs(x.mean() - truth.mean.item()) < 4 * math.sqrt(truth.variance.item() / x.size)
    assert abs(x.var() / truth.variance.item() - 1) < 4 * math.sqrt(2 / x.size) + 2e-3


def test_the_large_ddpm_variance_keeps_the_spread_of_narrow_pixels() -> None:
    spreads = {}
    for variance in ("fixed-small", "fixed-large"):
        built = sampler("ddpm", {"variance": variance, "clip_x0": False})
        truth = ORACLES["ddpm"](
            built, PROCESSES[built.process], np.array([0.5]), np.array([0.0004])
        )
        spreads[variance] = math.sqrt(truth.variance.item())
    assert spreads["fixed-small"] == pytest.approx(0.0163, abs=5e-5)
    assert spreads["fixed-large"] == pytest.approx(0.0194, abs=5e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_a_correlated_field_keeps_its_spectrum_and_its_samples_apart(name: str) -> None:
    built, process = build(name), PROCESSES[SAMPLERS[name].process]
    power = smooth_power(64, s=0.2, length=3.0)
    x = draw(built, field_denoiser(process, power, 0.4), (24, 64, 64))
    mean_mode = np.zeros_like(power)
    mean_mode[0, 0] = 0.4 * 64
    truth = ORACLES[name](built, process, mean_mode, power)
    modes = np.fft.fft2(x, norm="ortho")
    ratio = (abs(modes - truth.mean) ** 2).mean(axis=0) / truth.variance
    smooth = power > np.median(power)
    for part in (smooth, ~smooth):
        count = part.sum() * len(x) / 2  # conjugate modes are the same
        assert abs(ratio[part].mean() - 1) < 4 / math.sqrt(count) + 2e-3 * (name == "pc")
    centred = (modes - truth.mean) / np.sqrt(truth.variance)
    across = np.corrcoef(centred.reshape(24, -1).view(np.float64))[np.triu_indices(24, 1)]
    assert abs(across).max() < 5 / math.sqrt(64 * 64)


@pytest.mark.parametrize("name", RANDOM)
def test_a_two_component_mixture_keeps_weights_shape_and_spread(name: str) -> None:
    process, w, means, s = PROCESSES[SAMPLERS[name].process], (0.3, 0.7), (0.2, 0.8), 0.1
    built = build(name, steps=1000, variance="fixed-large")
    denoise = mixture_denoiser(process, w, means, s)
    # the prior starts at the data's mean, which std(1) does not quite forget
    x = draw(built, denoise, (1, 256, 256), prior_mean=0.62).ravel()
    weight = w[0] * stats.norm.cdf(3) + w[1] * stats.norm.cdf(-3)
    assert (x < 0.5).mean() == pytest.approx(weight, abs=0.01)
    spread = math.sqrt(s**2 + w[0] * w[1] * (means[0] - means[1]) ** 2)
    assert x.std() == pytest.approx(spread, rel=0.02)

    def cdf(at: Array) -> Array:
        return w[0] * stats.norm.cdf(at, means[0], s) + w[1] * stats.norm.cdf(at, means[1], s)

    assert stats.kstest(x, cdf).statistic < 0.02


@pytest.mark.parametrize("name", ALL)
def test_a_certain_pixel_comes_back_as_it_is(name: str) -> None:
    built = build(name, steps=1 if name == "direct" else 1000)
    x = draw(built, certain(built, 0.37), (1, 256, 256))
    # what Euler-Maruyama's last step leaves of std(eps), as the oracle has it; the others end in a full denoise
    left = {"em": 1.4e-4, "pc": 4e-4, "ddpm": 1e-7, "ode": 1e-7, "direct": 1e-12}[name]
    assert abs(x.mean() - 0.37) < left
    assert abs(x - 0.37).max() < 5 * left


def test_the_ode_without_denoise_leaves_exactly_the_noise_of_eps() -> None:
    built = sampler("ode", {"denoise": False})
    process = VESDE()
    x = draw(built, certain(built, 0.5), (1, 256, 256))
    prior = process.std(1.0) * Noise(0, "oracle", [(0, 0)], (256, 256))()[:, 0]
    truth = 0.5 + (prior - 0.5) * process.std(1e-3) / process.std(1.0)
    assert abs(x - truth).max() < 5e-5
    assert process.std(1e-3) == pytest.approx(0.03167, abs=5e-6)


@pytest.mark.parametrize(
    ("steps", "eps", "deviation"),
    [(1000, 1e-3, 0.0009), (500, 1e-3, 0.048), (100, 1e-3, 0.93), (100, 1e-2, 0.004)],
)
def test_euler_maruyama_leaves_the_noise_of_too_small_an_eps(
    steps: int, eps: float, deviation: float
) -> None:
    built = EulerMaruyama(steps, eps, allow_residual_noise=True)
    truth = em_oracle(built, VESDE(), np.array([0.5]), np.array([0.005**2]))
    expected = math.sqrt(truth.variance.item())
    x = draw(built, gaussian(built, 0.5, 0.005), (1, 256, 256))
    assert expected == pytest.approx(deviation, abs=0.5 * 10 ** math.floor(math.log10(deviation)))
    assert x.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * x.size))


def test_predictor_corrector_changes_the_spread_as_computed() -> None:
    for s, expected in ((0.1, 0.0973), (0.3, 0.3019)):
        built = PredictorCorrector(steps=2000, eps=1e-3)
        truth = pc_oracle(built, VESDE(), np.array([0.5]), np.array([s**2]))
        assert math.sqrt(truth.variance.item()) == pytest.approx(expected, abs=5e-5)
