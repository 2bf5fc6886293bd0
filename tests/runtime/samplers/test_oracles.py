"""Every registered sampler against closed forms (Gaussian pixels, correlated fields, mixtures, certain pixels)."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sampler_oracles import (
    ORACLES,
    PAIRS,
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
from mrct_runtime.process import DDPM, VESDE, Direct, Process
from mrct_runtime.samplers import SAMPLERS, Sampler, sampler
from mrct_runtime.samplers.em import EulerMaruyama
from mrct_runtime.samplers.pc import PredictorCorrector

RANDOM = [(name, process) for name, process in PAIRS if not isinstance(process, Direct)]
FAST = [(name, process) for name, process in PAIRS if name in ("ddim", "dpmpp", "heun", "unipc")]
STEPS = 200


def build(name: str, **options: Any) -> Sampler:
    """The sampler with 200 steps and nothing that breaks linearity."""
    known = {field.name for field in fields(SAMPLERS[name])}
    linear = {"steps": {"ode": 400, "direct": 1}.get(name, STEPS), "clip_x0": False} | options
    return sampler(name, {key: value for key, value in linear.items() if key in known})


def draw(
    built: Sampler,
    process: Process,
    denoise: Any,
    shape: tuple[int, int, int] = (1, 256, 256),
    prior_mean: float = 0.0,
) -> Array:
    """Samples [B, H, W] from the prior N(alpha(1) prior_mean, std(1)^2)."""
    batch, height, width = shape
    noise = Noise(0, "oracle", [(0, k) for k in range(batch)], (height, width))
    x = process.alpha(1.0) * prior_mean + process.std(1.0) * noise()
    return built(denoise, process, x, noise)[:, 0]


def gaussian(process: Process, m: float, s: float) -> Any:
    engine = Analytic(process, deviation=lambda y: np.full_like(y, s))
    return engine.bind(np.full((1, 1, 256, 256), m))


def certain(process: Process, m: float) -> Any:
    engine = Analytic(process, deviation=np.zeros_like)
    return engine.bind(np.full((1, 1, 256, 256), m))


def test_every_sampler_has_an_oracle() -> None:
    assert set(ORACLES) == set(SAMPLERS)


@pytest.mark.parametrize(("name", "process"), PAIRS)
@pytest.mark.parametrize(("m", "s"), [(0.3, 0.1), (0.7, 0.3), (0.5, 0.02)])
def test_gaussian_pixels_have_the_oracles_mean_and_variance(
    name: str, process: Process, m: float, s: float
) -> None:
    built = build(name)
    x = draw(built, process, gaussian(process, m, s))
    truth = ORACLES[name](built, process, np.array([m]), np.array([s**2]))
    expected_mean, expected_variance = truth.mean.item(), truth.variance.item()
    assert abs(x.mean() - expected_mean) < 4 * math.sqrt(expected_variance / x.size) + 1e-6
    relative = 4 * math.sqrt(2 / x.size) + 1e-3 * (name == "pc")
    assert abs(x.var() - expected_variance) < relative * expected_variance + 1e-12


@pytest.mark.parametrize("name", ["em", "pc"])
def test_the_reverse_diffusion_predictor_has_the_oracles_moments(name: str) -> None:
    built, process = build(name, predictor="reverse-diffusion", steps=50), VESDE()
    x = draw(built, process, gaussian(process, 0.4, 0.2))
    truth = ORACLES[name](built, process, np.array([0.4]), np.array([0.04]))
    assert abs(x.mean() - truth.mean.item()) < 4 * math.sqrt(truth.variance.item() / x.size)
    assert abs(x.var() / truth.variance.item() - 1) < 4 * math.sqrt(2 / x.size) + 2e-3


def test_the_large_ddpm_variance_keeps_the_spread_of_narrow_pixels() -> None:
    spreads = {}
    for variance in ("fixed-small", "fixed-large"):
        built = sampler("ddpm", {"variance": variance, "clip_x0": False})
        truth = ORACLES["ddpm"](built, DDPM(), np.array([0.5]), np.array([0.0004]))
        spreads[variance] = math.sqrt(truth.variance.item())
    assert spreads["fixed-small"] == pytest.approx(0.0163, abs=5e-5)
    assert spreads["fixed-large"] == pytest.approx(0.0194, abs=5e-5)


@pytest.mark.parametrize(("name", "process"), RANDOM)
def test_a_correlated_field_keeps_its_spectrum_and_its_samples_apart(
    name: str, process: Process
) -> None:
    built = build(name)
    power = smooth_power(64, s=0.2, length=3.0)
    x = draw(built, process, field_denoiser(process, power, 0.4), (24, 64, 64))
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


@pytest.mark.parametrize(("name", "process"), RANDOM)
def test_a_two_component_mixture_keeps_weights_shape_and_spread(
    name: str, process: Process
) -> None:
    w, means, s = (0.3, 0.7), (0.2, 0.8), 0.1
    built = build(name, steps=200 if (name, process) in FAST else 1000, variance="fixed-large")
    denoise = mixture_denoiser(process, w, means, s)
    # the prior starts at the data's mean, which std(1) does not quite forget
    x = draw(built, process, denoise, prior_mean=0.62).ravel()
    weight = w[0] * stats.norm.cdf(3) + w[1] * stats.norm.cdf(-3)
    assert (x < 0.5).mean() == pytest.approx(weight, abs=0.01)
    spread = math.sqrt(s**2 + w[0] * w[1] * (means[0] - means[1]) ** 2)
    assert x.std() == pytest.approx(spread, rel=0.02)

    def cdf(at: Array) -> Array:
        return w[0] * stats.norm.cdf(at, means[0], s) + w[1] * stats.norm.cdf(at, means[1], s)

    assert stats.kstest(x, cdf).statistic < 0.02


@pytest.mark.parametrize(("name", "process"), PAIRS)
def test_a_certain_pixel_comes_back_as_it_is(name: str, process: Process) -> None:
    built = build(name, steps=1 if name == "direct" else 1000)
    x = draw(built, process, certain(process, 0.37))
    # what Euler-Maruyama's last step leaves of std(eps), as the oracle has it; the others end in a full denoise
    left = {"em": 1.4e-4, "pc": 4e-4}.get(name, 1e-7)
    assert abs(x.mean() - 0.37) < left
    assert abs(x - 0.37).max() < 5 * left


def test_the_ode_without_denoise_leaves_exactly_the_noise_of_eps() -> None:
    built = sampler("ode", {"denoise": False})
    process = VESDE()
    x = draw(built, process, certain(process, 0.5))
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
    x = draw(built, VESDE(), gaussian(VESDE(), 0.5, 0.005))
    assert expected == pytest.approx(deviation, abs=0.5 * 10 ** math.floor(math.log10(deviation)))
    assert x.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * x.size))


@pytest.mark.parametrize(("name", "process"), FAST)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 19])
@pytest.mark.parametrize("grid", ["karras", "log-snr", "uniform"])
def test_fast_samplers_are_the_oracles_linear_maps_for_any_few_steps(
    name: str, process: Process, steps: int, grid: str
) -> None:
    built = build(name, steps=steps, grid=grid)
    x = mapped(built, process, m=0.4, s=0.2)
    truth = ORACLES[name](built, process, np.array([0.4]), np.array([0.04]))
    assert x[0] == pytest.approx(truth.mean.item(), rel=1e-9, abs=1e-9)
    assert abs(x[1] - x[0]) == pytest.approx(math.sqrt(truth.variance.item()), rel=1e-8)


@pytest.mark.parametrize(("name", "process"), FAST)
@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("steps", [10, 50])
def test_noise_on_the_way_has_the_oracles_variance(
    name: str, process: Process, eta: float, steps: int
) -> None:
    if name in ("heun", "unipc"):
        assert "eta" not in {field.name for field in fields(SAMPLERS[name])}
        return
    built = build(name, steps=steps, eta=eta)
    x = draw(built, process, gaussian(process, 0.4, 0.2))
    truth = ORACLES[name](built, process, np.array([0.4]), np.array([0.04]))
    assert abs(x.mean() - truth.mean.item()) < 4 * math.sqrt(truth.variance.item() / x.size)
    assert abs(x.var() / truth.variance.item() - 1) < 4 * math.sqrt(2 / x.size)


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
@pytest.mark.parametrize("eta", [0.25, 0.5, 2.0])
def test_noise_on_the_way_of_any_strength_leaves_the_spread_as_it_is(
    process: Process, eta: float
) -> None:
    s, last = 0.2, process.std(1e-3) / process.alpha(1e-3)
    errors = []
    for steps in (50, 100, 200):
        built = sampler("dpmpp", {"steps": steps, "eta": eta})
        found = ORACLES["dpmpp"](built, process, np.array([0.4]), np.array([s**2])).variance.item()
        # the last step, D, leaves s^2 / (s^2 + sigma^2) of the variance
        errors.append(found / (s**4 / (s**2 + last**2)) - 1)
    assert abs(errors[-1]) < 2e-3
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3


@pytest.mark.parametrize(("name", "process"), FAST)
def test_fast_samplers_converge_with_their_order(name: str, process: Process) -> None:
    s, last = 0.2, 0.0101
    first = process.std(1.0) / process.alpha(1.0)
    denoised = s**2 / (s**2 + last**2)
    exact = denoised * first * math.sqrt((s**2 + last**2) / (s**2 + first**2))
    errors = []
    for levels in (40, 80, 160):
        steps = 2 * levels - 1 if name == "heun" else levels
        low, high = mapped(build(name, steps=steps, sigma_min=last), process, m=0.0, s=s)
        errors.append(abs(high - low - exact))
    # the free corrector lifts UniPC's order by one (Zhao et al. 2023, theorem 3.1)
    order = {"ddim": 1, "dpmpp": 2, "heun": 2, "unipc": 3}[name]
    for a, b in itertools.pairwise(errors):
        assert math.log2(a / b) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("name", "grid", "spread"),
    [
        ("ddim", "uniform", 0.028),
        ("dpmpp", "uniform", 0.028),
        ("dpmpp", "log-snr", 0.0996),
        ("dpmpp", "karras", 0.096),
    ],
)
def test_the_grid_decides_what_ten_steps_keep_of_the_spread(
    name: str, grid: str, spread: float
) -> None:
    low, high = mapped(build(name, steps=10, grid=grid), DDPM(), m=0.0, s=0.1)
    assert high - low == pytest.approx(spread, abs=2e-4)


@pytest.mark.parametrize(("name", "process"), FAST)
def test_presets_of_their_own_keep_the_spread_of_narrow_and_wide_pixels(
    name: str, process: Process
) -> None:
    tolerance = {"ddim": 0.07, "heun": 0.05}.get(name, 0.02)
    last = process.std(1e-3) / process.alpha(1e-3)
    for s in (0.02, 0.1, 0.3):
        low, high = mapped(sampler(name), process, m=0.0, s=s)
        # the last step, D, leaves s / sqrt(s^2 + sigma^2) of it
        assert high - low == pytest.approx(s * s / math.hypot(s, last), rel=tolerance)


def mapped(built: Sampler, process: Process, m: float, s: float) -> Array:
    """Where a deterministic sampler takes the priors 0 and std(1) of pixels N(m, s^2), float64 [2]."""
    x = np.array([0.0, process.std(1.0)]).reshape(1, 1, 1, 2)
    engine = Analytic(process, deviation=lambda y: np.full_like(y, s))
    return built(
        engine.bind(np.full((1, 1, 1, 2), m)), process, x, lambda: np.zeros_like(x)
    ).ravel()


def test_predictor_corrector_changes_the_spread_as_computed() -> None:
    for s, expected in ((0.1, 0.0973), (0.3, 0.3019)):
        built = PredictorCorrector(steps=2000, eps=1e-3)
        truth = pc_oracle(built, VESDE(), np.array([0.5]), np.array([s**2]))
        assert math.sqrt(truth.variance.item()) == pytest.approx(expected, abs=5e-5)
