from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Process
from mrct_runtime.samplers import sampler
from mrct_runtime.samplers.dpmpp import MultistepDPM
from mrct_runtime.samplers.sigma_space import data_prediction, enter, sigma_at, sigmas
from mrct_runtime.started_process import started

BOTH = pytest.mark.parametrize("process", [VESDE(), DDPM()])
GRIDS = pytest.mark.parametrize("grid", ["karras", "log-snr", "uniform"])


@BOTH
@GRIDS
@pytest.mark.parametrize("levels", [1, 2, 3, 10, 500])
def test_levels_fall_from_the_priors_sigma_without_a_repetition(
    process: Process, grid: str, levels: int
) -> None:
    found = sigmas(process, levels, grid)
    assert len(found) == levels
    assert found[0] == process.std(1.0) / process.alpha(1.0)
    assert all(a > b > 0 for a, b in itertools.pairwise(found))


@BOTH
def test_the_last_level_is_where_the_published_samplers_stop(process: Process) -> None:
    last = process.std(1e-3) / process.alpha(1e-3)
    assert sigmas(process, 20, "karras")[-1] == sigmas(process, 20, "log-snr")[-1] == last
    assert sigmas(process, 20, "karras", 0.05)[-1] == 0.05
    assert sigmas(process, 20, "uniform")[-1] == sigma_at(process, 1 / 20)


@BOTH
def test_each_grid_is_even_in_its_own_scale(process: Process) -> None:
    scales = {
        "karras": lambda sigma: sigma ** (1 / 7),
        "log-snr": math.log,
        "uniform": process.time,
    }
    for grid, scale in scales.items():
        gaps = np.diff([scale(sigma) for sigma in sigmas(process, 12, grid)])
        np.testing.assert_allclose(gaps, gaps[0], rtol=2e-3 if grid == "uniform" else 1e-9)


def test_uniform_levels_of_a_ddpm_are_those_of_its_respaced_chain() -> None:
    chain = [math.sqrt((1 - level.abar) / level.abar) for level in DDPM().respaced(50)]
    np.testing.assert_allclose(sigmas(DDPM(), 50, "uniform"), chain, rtol=1e-9)


@BOTH
def test_the_denoiser_is_asked_at_the_networks_own_scale_and_time(process: Process) -> None:
    asked = []

    def eps(x: np.ndarray, t: float) -> np.ndarray:
        asked.append((float(x.ravel()[0]), t))
        return np.full_like(x, 0.5)

    t, x0, z = 0.3, 0.4, 1.5
    alpha, std = process.alpha(t), process.std(t)
    x = np.full((1, 1, 1, 1), x0 + std / alpha * z)
    found = data_prediction(eps, process)(x, std / alpha)
    assert asked[0] == pytest.approx((alpha * x0 + std * z, t), rel=1e-9)
    assert found.item() == pytest.approx((asked[0][0] - std * 0.5) / alpha, rel=1e-9)


@BOTH
def test_the_prior_is_asked_at_the_last_time_and_never_beyond(process: Process) -> None:
    times = []

    def eps(x: np.ndarray, t: float) -> np.ndarray:
        times.append(t)
        return x

    data_prediction(eps, process)(enter(process, np.ones((1, 1, 1, 1))), sigma_at(process, 1.0))
    assert 1 - 1e-9 < times[0] <= 1


@pytest.mark.parametrize("sigma_min", [1e-4, 200.0])
def test_a_last_level_beyond_the_networks_own_is_refused(sigma_min: float) -> None:
    for process in (VESDE(), DDPM()):
        with pytest.raises(UsageError, match=f"sigma_min must lie between .* got {sigma_min:g}"):
            MultistepDPM(sigma_min=sigma_min).check(process)


def test_a_start_below_the_last_level_of_its_own_says_where_that_is() -> None:
    with pytest.raises(UsageError, match=r"here that of t = 0\.001, must lie .* got 0\.0316737"):
        MultistepDPM().check(started(VESDE(), 0.02))
    MultistepDPM(sigma_min=0.01).check(started(VESDE(), 0.02))


def test_a_uniform_grid_finer_than_the_training_is_refused() -> None:
    MultistepDPM(1000, grid="uniform").check(DDPM())
    with pytest.raises(UsageError, match="take fewer steps"):
        MultistepDPM(1001, grid="uniform").check(DDPM())


@BOTH
def test_float32_stays_float32(process: Process) -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    found = MultistepDPM(5, eta=1.0)(
        lambda x, _t: np.ones_like(x), process, x, lambda: np.ones_like(x)
    )
    assert found.dtype == np.float32


class Anywhere:
    """An array that can be reckoned with and nothing else, as one of another device."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __add__(self, other: Anywhere) -> Anywhere:
        return Anywhere(self.values + other.values)

    def __sub__(self, other: Anywhere) -> Anywhere:
        return Anywhere(self.values - other.values)

    def __mul__(self, factor: float) -> Anywhere:
        assert isinstance(factor, float)
        return Anywhere(self.values * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Anywhere:
        return self * (1 / divisor)


@BOTH
@pytest.mark.parametrize(
    ("name", "options"),
    [("ddim", {"eta": 1.0}), ("dpmpp", {"eta": 1.0}), ("heun", {}), ("unipc", {})],
)
def test_nothing_but_operators_touches_an_array(process: Process, name: str, options: dict) -> None:
    def eps(x: Anywhere, t: float) -> Anywhere:
        assert isinstance(t, float)
        return 0.9 * x

    def run(start: object, noise: object) -> object:
        return sampler(name, {"steps": 8} | options)(eps, process, start, lambda: noise)

    start, noise = np.full((1, 1, 2, 2), 3.0), np.full((1, 1, 2, 2), 0.5)
    found = run(Anywhere(start), Anywhere(noise))
    np.testing.assert_allclose(found.values, run(start, noise), rtol=1e-12)
