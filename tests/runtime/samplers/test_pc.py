from __future__ import annotations

import numpy as np
import pytest

from mrct_runtime.denoisers import Counted
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import VESDE
from mrct_runtime.samplers.pc import PredictorCorrector


def test_the_papers_thousand_evaluations_are_five_hundred_levels() -> None:
    assert PredictorCorrector(steps=1000).levels == 500
    eps = Counted(Analytic(VESDE()).bind(np.zeros((1, 1, 2, 2))))
    noise = Noise(0, "", [(0, 0)], (2, 2))
    PredictorCorrector(steps=1000)(eps, VESDE(), noise(), noise)
    assert eps.evaluations == 1000


def test_the_corrector_comes_first_and_both_run_at_the_levels_time() -> None:
    times: list[float] = []
    eps = Analytic(VESDE()).bind(np.zeros((1, 1, 2, 2)))

    def recording(x, t):
        times.append(t)
        return eps(x, t)

    noise = Noise(0, "", [(0, 0)], (2, 2))
    PredictorCorrector(steps=9, correctors=2)(recording, VESDE(), noise(), noise)
    np.testing.assert_allclose(times, [1] * 3 + [2 / 3] * 3 + [1 / 3] * 3)


def test_the_langevin_step_is_each_samples_own() -> None:
    eps = Analytic(VESDE())
    rows = [(0, 0), (0, 1)]

    def draw(rows, scale):
        noise = Noise(0, "", rows, (16, 16))
        cond = np.zeros((len(rows), 1, 16, 16))
        x = scale.reshape(-1, 1, 1, 1) * noise()
        return PredictorCorrector(steps=20)(eps.bind(cond), VESDE(), x, noise)

    both = draw(rows, np.array([1.0, 50.0]))
    np.testing.assert_array_equal(both[:1], draw(rows[:1], np.array([1.0])))
    np.testing.assert_array_equal(both[1:], draw(rows[1:], np.array([50.0])))


def test_one_langevin_step_is_the_equation_of_song() -> None:
    process, x = VESDE(), np.array([[[[0.3, -0.2], [0.5, 0.1]]]])
    eps = np.array([[[[0.2, 0.1], [-0.4, 0.3]]]])
    z = np.array([[[[1.0, -1.0], [0.5, 2.0]]]])
    std = process.std(0.5)
    score = -eps / std
    e = 2 * (0.16 * np.sqrt(4) / np.linalg.norm(score)) ** 2
    found = PredictorCorrector()._langevin(x, eps, std, z)
    np.testing.assert_allclose(found, x + e * score + np.sqrt(2 * e) * z, rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 25}, "no multiple of the 2 evaluations"),
        ({"steps": 0}, "got 0"),
        ({"correctors": 0}, "got 0"),
        ({"snr": 0.0}, "got 0"),
        ({"snr": float("inf")}, "got inf"),
        ({"allow_residual_noise": "no"}, "got 'no'"),
        ({"steps": 1000, "eps": 1e-3}, "leaves noise"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PredictorCorrector(**options)
