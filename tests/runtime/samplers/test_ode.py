from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sampler_oracles import mixture_denoiser
from scipy.integrate import solve_ivp

from mrct_runtime.denoisers import Counted
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import VESDE
from mrct_runtime.samplers.dormand_prince import attempt, integrate
from mrct_runtime.samplers.ode import ProbabilityFlow

PROCESS = VESDE()
MIXTURE = mixture_denoiser(PROCESS, (0.3, 0.7), (0.2, 0.8), 0.05)


def prior(rows: list[tuple[int, int]], size: int = 8) -> np.ndarray:
    return PROCESS.std(1.0) * Noise(0, "ode", rows, (size, size))()


def scipys(x: np.ndarray, rtol: float) -> tuple[np.ndarray, int]:
    shape = x.shape

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        gain = PROCESS.g(t) ** 2 / (2 * PROCESS.std(t))
        return gain * MIXTURE(flat.reshape(shape), float(t)).ravel()

    start = x.ravel().astype(np.float64)
    found = solve_ivp(slope, (1.0, 1e-3), start, method="RK45", rtol=rtol, atol=rtol)
    return found.y[:, -1].reshape(shape), found.nfev


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("sample", [0, 1, 2])
def test_one_sample_takes_scipys_steps_to_scipys_result(rtol: float, sample: int) -> None:
    x = prior([(0, sample)])
    counted = Counted(MIXTURE)
    ours = ProbabilityFlow(rtol=rtol, atol=rtol, denoise=False)(counted, PROCESS, x, lambda: x)
    theirs, evaluations = scipys(x, rtol)
    assert counted.evaluations == evaluations
    np.testing.assert_allclose(ours, theirs, atol=1e-10, rtol=0)


def test_samples_of_different_difficulty_do_not_see_each_other() -> None:
    rows = [(0, k) for k in range(5)]
    scales = np.array([1.0, 0.01, 3.0, 1.0, 10.0]).reshape(-1, 1, 1, 1)
    together = ProbabilityFlow()(MIXTURE, PROCESS, scales * prior(rows), lambda: None)
    for k, row in enumerate(rows):
        alone = ProbabilityFlow()(MIXTURE, PROCESS, scales[k] * prior([row]), lambda: None)
        np.testing.assert_array_equal(alone[0], together[k])


def test_the_map_of_a_gaussian_is_hit_to_the_tolerance() -> None:
    m, s, eps = 0.3, 0.2, 1e-3
    denoise = Analytic(PROCESS, deviation=lambda y: np.full_like(y, s)).bind(
        np.full((4, 1, 64, 64), m)
    )
    x = prior([(0, k) for k in range(4)], size=64)
    found = ProbabilityFlow(denoise=False)(denoise, PROCESS, x, lambda: None)
    shrink = math.sqrt((s**2 + PROCESS.std(eps) ** 2) / (s**2 + PROCESS.std(1.0) ** 2))
    np.testing.assert_allclose(found, m + (x - m) * shrink, atol=5e-5, rtol=0)


def test_the_final_denoise_is_the_posterior_mean() -> None:
    m, s = 0.3, 0.2
    denoise = Analytic(PROCESS, deviation=lambda y: np.full_like(y, s)).bind(
        np.full((1, 1, 8, 8), m)
    )
    x = prior([(0, 0)])
    noisy = ProbabilityFlow(denoise=False)(denoise, PROCESS, x, lambda: None)
    clean = ProbabilityFlow()(denoise, PROCESS, x, lambda: None)
    keep = s**2 / (s**2 + PROCESS.std(1e-3) ** 2)
    np.testing.assert_allclose(clean, m + keep * (noisy - m), atol=1e-12)


def test_steps_converge_with_order_five() -> None:
    """x' = x cos t: a step of h errs by h^6 locally, so n steps by h^5."""

    def slope(t: np.ndarray, x: np.ndarray) -> np.ndarray:
        return x * np.cos(t).reshape(-1, 1, 1, 1)

    errors = []
    for n in (16, 32, 64):
        x, t = np.ones((1, 1, 1, 1)), np.array([2.0])
        k = slope(t, x)
        for _ in range(n):
            x, k, _ = attempt(slope, t, t - 2.0 / n, x, k, (1e-5, 1e-5))
            t = t - 2.0 / n
        errors.append(abs(x.item() - math.exp(-math.sin(2.0))))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[0] == pytest.approx(5, abs=0.4)
    assert orders[1] == pytest.approx(5, abs=0.2)


def test_a_solution_that_stands_still_is_integrated() -> None:
    x = np.full((2, 1, 2, 2), 0.5)
    found = integrate(
        lambda t, x: np.zeros_like(x), 1.0, 0.0, x, tolerance=(1e-5, 1e-5), max_evaluations=100
    )
    np.testing.assert_array_equal(found, x)


def test_too_few_evaluations_are_named() -> None:
    with pytest.raises(NumericError, match=r"more than 19 evaluations .* loosen rtol"):
        ProbabilityFlow(steps=20)(MIXTURE, PROCESS, prior([(0, 0)]), lambda: None)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"rtol": 0.0},
        {"rtol": math.inf},
        {"atol": -1.0},
        {"eps": 0.0},
        {"denoise": "no"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        ProbabilityFlow(**options)
