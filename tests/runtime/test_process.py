from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Process

PROCESSES: list[Process] = [VESDE(), DDPM()]


@pytest.mark.parametrize(("t", "std"), [(1.0, 9.8452), (1e-3, 0.03167), (1e-5, 0.003162)])
def test_the_ve_deviation_has_its_published_values(t: float, std: float) -> None:
    assert VESDE().std(t) == pytest.approx(std, rel=2e-4)


def test_the_ve_deviation_integrates_the_diffusion_coefficient() -> None:
    process = VESDE()
    variance, _ = quad(lambda t: process.g(t) ** 2, 0, 0.7)
    assert process.std(0.7) ** 2 == pytest.approx(variance, rel=1e-12)


def test_ve_time_inverts_the_deviation() -> None:
    process = VESDE()
    for t in (1e-5, 1e-3, 0.5, 1.0):
        assert process.time(process.std(t)) == pytest.approx(t, rel=1e-12)


@pytest.mark.parametrize("process", [*PROCESSES, DDPM(steps=7)])
def test_time_inverts_sigma_between_grid_times_too(process: Process) -> None:
    times = np.linspace(process.t_min, 1.0, 1777).tolist()
    found = [process.time(process.std(t) / process.alpha(t)) for t in times]
    np.testing.assert_allclose(found, times, rtol=1e-10)
    assert all(a < b for a, b in itertools.pairwise(found))


def test_a_discrete_process_has_no_time_beyond_its_ends() -> None:
    process = DDPM()
    assert process.time(1e-9) == process.t_min
    assert process.time(1e9) == process.t_max
    assert DDPM(steps=1).time(0.5) == 1


def test_ddpm_tables_are_the_linear_schedules_products() -> None:
    process = DDPM()
    logs = math.fsum(math.log1p(-(1e-4 + (0.02 - 1e-4) * i / 999)) for i in range(1000))
    assert process.abar[1000] == pytest.approx(math.exp(logs), rel=1e-12)
    assert process.abar[0] == 1
    assert len(process.abar) == len(process.beta) == 1001


def test_ddpm_schedule_agrees_with_diffusers() -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="linear").alphas_cumprod.double().numpy()
    np.testing.assert_allclose(DDPM().abar[1:], theirs, rtol=2e-5)  # theirs is a float32 product


def test_ddpm_floats_at_a_grid_time_are_the_tables() -> None:
    process = DDPM()
    for i in (1, 2, 3, 7, 500, 999, 1000):
        assert process.alpha(i / 1000) ** 2 == pytest.approx(process.abar[i], rel=1e-12)
        assert process.std(i / 1000) ** 2 == pytest.approx(1 - process.abar[i], rel=1e-12)


def test_ddpm_floats_between_grid_times_lie_between_the_tables() -> None:
    process = DDPM()
    assert process.abar[501] < process.alpha(0.5005) ** 2 < process.abar[500]


def test_ddpm_is_a_discretisation_of_its_sde() -> None:
    process = DDPM()
    decay = solve_ivp(
        lambda t, a: process.f(t) * a, (0.001, 1.0), [process.alpha(0.001)], rtol=1e-8
    )
    # the chain and its limit part by sum(beta^2) / 4, 3.4 % over a thousand steps
    assert decay.y[0, -1] == pytest.approx(process.alpha(1.0), rel=0.05)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_signal_to_noise_ratio_falls_with_time(process: Process) -> None:
    times = np.linspace(process.t_min, process.t_max, 400).tolist()
    ratios = [process.alpha(t) / process.std(t) for t in times]
    assert all(a > b for a, b in itertools.pairwise(ratios))


@pytest.mark.parametrize("steps", [1, 2, 3, 100, 333, 1000])
def test_respacing_recomputes_beta_from_the_strided_product(steps: int) -> None:
    levels = DDPM().respaced(steps)
    assert len(levels) == steps
    assert levels[0].t == 1
    assert levels[-1].abar_prev == 1
    product = math.prod(1 - level.beta for level in levels)
    assert product == pytest.approx(DDPM().abar[1000], rel=1e-10)
    for level, following in itertools.pairwise(levels):
        assert level.abar_prev == following.abar


def test_a_full_chain_has_the_original_betas() -> None:
    process = DDPM()
    betas = [level.beta for level in reversed(process.respaced(1000))]
    np.testing.assert_allclose(betas, process.beta[1:], rtol=1e-9)


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_chain_longer_than_the_process_is_refused(steps: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 1000 steps, got {steps}"):
        DDPM().respaced(steps)


@pytest.mark.parametrize(
    "build",
    [
        lambda: VESDE(sigma=1.0),
        lambda: VESDE(t_min=0.0),
        lambda: VESDE(sigma=math.inf),
        lambda: DDPM(steps=0),
        lambda: DDPM(beta_start=0.02, beta_end=1e-4),
    ],
)
def test_a_process_that_makes_no_sense_is_refused(build) -> None:
    with pytest.raises(UsageError, match="got"):
        build()


def test_a_chain_that_loses_the_signal_beyond_computing_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be computed"):
        DDPM(beta_end=0.99)
