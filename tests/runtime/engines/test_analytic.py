from __future__ import annotations

import numpy as np
import pytest

from mrct_runtime.engines import ENGINES, opener
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Direct, Process


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
@pytest.mark.parametrize("t", [0.001, 0.3, 1.0])
def test_eps_is_the_regression_of_the_noise_on_the_image(process: Process, t: float) -> None:
    rng = np.random.default_rng(0)
    m, s, n = 0.4, 0.3, 400_000
    z = rng.standard_normal(n)
    x = process.alpha(t) * (m + s * rng.standard_normal(n)) + process.std(t) * z
    slope, offset = np.polyfit(x, z, 1)
    eps = Analytic(process, deviation=lambda y: np.full_like(y, s)).bind(np.full((1, 1, 1, 2), m))
    at = np.array([[[[0.0, 1.0]]]])
    found = eps(at, t)[0, 0, 0]
    np.testing.assert_allclose(found, offset + slope * at[0, 0, 0], atol=0.03 * max(1, slope))


def test_of_a_direct_process_it_gives_the_mean_whatever_x_and_t_are() -> None:
    y = np.random.default_rng(0).random((2, 1, 4, 4))
    x0 = Analytic(Direct(), mean=lambda y: 2 * y).bind(y)
    for x, t in ((np.zeros_like(y), 1.0), (np.full_like(y, 9.0), np.array([0.5, 0.1]))):
        np.testing.assert_array_equal(x0(x, t), 2 * y)


def test_a_time_for_each_sample_is_each_samples_own() -> None:
    eps = Analytic(VESDE()).bind(np.zeros((2, 1, 2, 2)))
    x, times = np.ones((2, 1, 2, 2)), np.array([0.2, 0.9])
    together = eps(x, times)
    np.testing.assert_array_equal(together[:1], eps(x, 0.2)[:1])
    np.testing.assert_array_equal(together[1:], eps(x, 0.9)[1:])


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_registered_backend_can_be_imported_without_what_it_needs(name: str) -> None:
    assert callable(opener(name))


def test_an_unknown_engine_is_named_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown backend 'openvino'; choose from tensorrt-rtx, "):
        opener("openvino")
