from __future__ import annotations

import numpy as np
import pytest

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.process import VESDE
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.stopping import Stopping, c4, standard_error
from mrct_runtime.synthesis import Moments, synthesize

TOLERANCE = 0.04


def test_c4_is_the_expectation_of_the_deviation_of_normal_samples() -> None:
    # tabulated: Montgomery, Introduction to Statistical Quality Control, appendix VI
    for n, tabulated in ((2, 0.7979), (3, 0.8862), (5, 0.9400), (10, 0.9727), (25, 0.9896)):
        assert c4(n) == pytest.approx(tabulated, abs=5e-5)
    drawn = np.random.default_rng(0).standard_normal((100_000, 4)).std(axis=1, ddof=1)
    assert drawn.mean() == pytest.approx(c4(4), abs=4 * drawn.std() / np.sqrt(len(drawn)))


def test_the_samples_wanted_are_those_after_which_the_standard_error_is_small_enough() -> None:
    stopping = Stopping(4, TOLERANCE)
    for deviation in (0.05, 0.1, 0.2, 0.3):
        n = stopping.wanted(deviation * c4(4), 4, 1000)
        assert n == 4 or standard_error(deviation * c4(n), n) <= TOLERANCE
        assert n == 4 or standard_error(deviation * c4(n - 1), n - 1) > TOLERANCE


def test_nothing_more_is_wanted_at_the_limit_nor_beyond_it() -> None:
    stopping = Stopping(4, TOLERANCE)
    assert stopping.wanted(10.0, 4, 32) == 32
    assert stopping.wanted(10.0, 32, 32) == 32


def test_at_least_one_more_is_wanted_while_the_error_is_too_large() -> None:
    stopping = Stopping(4, TOLERANCE)
    barely = TOLERANCE * c4(9) * 3 * (1 + 1e-12)
    assert stopping.wanted(barely, 9, 32) == 10


@pytest.mark.parametrize(
    ("least", "tolerance", "said"),
    [(1, 0.1, "at least 2"), (4, 0.0, "above 0"), (4, float("nan"), "finite"), (4, -1, "above 0")],
)
def test_what_makes_no_sense_is_refused(least: int, tolerance: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Stopping(least, tolerance)


def test_the_most_samples_may_not_be_fewer_than_the_fewest() -> None:
    with pytest.raises(UsageError, match="from fewer samples to more, got 8 to 4"):
        Sampling(sampler("em"), mc=4, stopping=Stopping(8, 0.1))


# A slice is as uncertain as its condition says.
DEVIATIONS = np.array([0.05, 0.15, 0.2, 0.4])


COND = np.broadcast_to(DEVIATIONS[:, None, None], (4, 16, 16)).copy()
EM = sampler("em", {"steps": 40, "predictor": "reverse-diffusion"})


def draw(sampling: Sampling, **more) -> Moments:
    engine = Analytic(VESDE(), mean=np.zeros_like, deviation=lambda cond: cond)
    return synthesize(engine, VESDE(), COND, sampling, **more)


def run(batch: int, **more) -> Moments:
    return draw(Sampling(EM, 32, batch=batch, stopping=Stopping(4, TOLERANCE)), **more)


def test_surer_slices_get_fewer_samples_and_every_mean_is_as_exact_as_was_asked_for() -> None:
    found = run(batch=8)
    deviations = draw(Sampling(EM, 100, batch=100)).std.mean(axis=(1, 2))
    needed = (deviations / TOLERANCE) ** 2
    assert needed[0] < 4 < needed[1] < needed[2] < 32 < needed[3]
    assert found.counts[[0, 3]].tolist() == [4, 32]
    # of 256 pixels the deviation is known within a few per cent
    np.testing.assert_allclose(found.counts[1:3], needed[1:3], rtol=0.1, atol=1)
    for s in range(3):
        # the truth is 0: the error of the mean is what was to be kept below the tolerance
        assert found.mean[s].std() < 1.15 * TOLERANCE
    assert found.evaluations == 40 * found.counts.sum()


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
def test_the_batch_decides_nothing(batch: int) -> None:
    reference, found = run(batch=8), run(batch=batch)
    np.testing.assert_array_equal(found.counts, reference.counts)
    np.testing.assert_array_equal(found.mean, reference.mean)
    np.testing.assert_array_equal(found.std, reference.std)


def test_the_moments_are_those_of_a_fixed_number_of_the_same_samples() -> None:
    found = run(batch=8)
    fixed = draw(Sampling(EM, int(found.counts[1])))
    np.testing.assert_array_equal(found.mean[1], fixed.mean[1])
    np.testing.assert_array_equal(found.std[1], fixed.std[1])


def test_only_the_body_is_asked_and_a_slice_without_one_has_enough() -> None:
    body = np.zeros((4, 16, 16), bool)
    body[:3, 4:12, 4:12] = True
    found = run(batch=8, body=body)
    assert found.counts[3] == 4
    assert found.counts[2] > 4


def test_progress_counts_the_rows_that_were_added() -> None:
    told = []
    found = run(batch=8, progress=told.append)
    assert told[0].total_rows >= 16
    assert told[-1].rows == told[-1].total_rows == found.counts.sum()
    assert told[-1].slices == told[-1].total_slices == 4
    assert [each.slices for each in told] == sorted(each.slices for each in told)
