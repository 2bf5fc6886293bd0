from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from fitted import of_scale
from scipy import stats

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.calibration import (
    LEVELS,
    Voxels,
    bins,
    calibration,
    coverage,
    ence,
    name_of,
    quantile,
    recalibrated,
)
from mrct_runtime.evaluation.recalibration import Scale

BOOTSTRAP = Bootstrap(resamples=100)


def drawn(n: int, count: int = 100_000, *, wrong_by: float = 1.0) -> Voxels:
    """Voxels of their own mean and deviation, n samples of each, and a truth whose deviation is wrong_by as large."""
    rng = np.random.default_rng(n)
    mu, sigma = rng.uniform(-150, 200, count), np.exp(rng.uniform(0, 4, count))
    samples = mu + sigma * rng.standard_normal((n, count))
    truth = mu + wrong_by * sigma * rng.standard_normal(count)
    mean = samples.mean(axis=0)
    return Voxels(mean, samples.std(axis=0, ddof=1), truth - mean)


def promising(std, n: int) -> Voxels:
    """Voxels whose errors are of exactly the size that is promised, with both signs."""
    std = np.asarray(std, float)
    signs = np.where(np.arange(len(std)) % 2, -1.0, 1.0)
    return Voxels(np.zeros(len(std)), std, signs * np.sqrt(1 + 1 / n) * std)


@pytest.mark.parametrize("n", [2, 3, 10, 50])
def test_a_truth_that_is_one_more_sample_is_covered_as_promised(n) -> None:
    found = coverage(drawn(n), n)
    for p in LEVELS:
        assert found[name_of(p)] == pytest.approx(p, abs=0.005)


@pytest.mark.parametrize("wrong_by", [0.5, 1.0, 3.0])
def test_the_coverage_of_a_wrong_deviation_is_that_of_the_normal_distribution(wrong_by) -> None:
    # a thousand samples know mean and deviation well, so the error is wrong_by times a normal deviate
    found = coverage(drawn(1000, 5000, wrong_by=wrong_by), 1000)
    for p in LEVELS:
        expected = 2 * stats.norm.cdf(stats.norm.ppf((1 + p) / 2) / wrong_by) - 1
        assert found[name_of(p)] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("n", [2, 10])
def test_the_interval_is_that_of_student(n) -> None:
    for p in LEVELS:
        assert quantile(p, n) == pytest.approx(stats.t.ppf((1 + p) / 2, n - 1) * np.sqrt(1 + 1 / n))


def test_one_sample_has_no_interval() -> None:
    with pytest.raises(UsageError, match="at least 2 samples, got 1"):
        quantile(0.5, 1)


def test_heavy_tails_cover_too_much_at_50_and_too_little_at_95() -> None:
    # a tenth of the voxels is off by ten deviations, the rest by half of one
    rng = np.random.default_rng(0)
    error = rng.standard_normal(20_000) * np.where(rng.random(20_000) < 0.1, 10.0, 0.5)
    found = coverage(Voxels(np.zeros(20_000), np.ones(20_000), error), 10)
    for p, side in ((0.5, 1), (0.95, -1)):
        q = quantile(p, 10)
        expected = 0.9 * (2 * stats.norm.cdf(2 * q) - 1) + 0.1 * (2 * stats.norm.cdf(q / 10) - 1)
        assert found[name_of(p)] == pytest.approx(expected, abs=0.01)
        assert side * (expected - p) > 0


def test_errors_of_exactly_the_promised_size_have_no_calibration_error() -> None:
    voxels = promising(np.linspace(1, 50, 1000), 10)
    assert ence(bins(voxels, 10)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 2.0, 5.0])
def test_the_calibration_error_of_a_wrong_factor_is_its_distance_from_one(factor) -> None:
    voxels = promising(np.linspace(1, 50, 1000), 10)
    wrong = Voxels(voxels.mean_hu, voxels.std_hu, factor * voxels.error_hu)
    assert ence(bins(wrong, 10)) == pytest.approx(abs(factor - 1))


def test_the_calibration_error_sees_deviations_that_are_right_on_average_only() -> None:
    # large where the error is small and small where it is large: 10 promised and 20 met, 20 and 10
    voxels = Voxels(np.zeros(200), np.repeat([10.0, 20.0], 100), np.repeat([20.0, 10.0], 100))
    c = np.sqrt(1.1)
    expected = (abs(10 * c - 20) / (10 * c) + abs(20 * c - 10) / (20 * c)) / 2
    assert ence(bins(voxels, 10)) == pytest.approx(expected)


def test_few_samples_leave_a_calibration_error_that_many_do_not() -> None:
    few, many = (ence(bins(drawn(n, 10_000), n)) for n in (4, 400))
    assert many < 0.03
    assert few > 0.1


def test_bins_are_equally_large_and_in_the_order_of_the_deviation() -> None:
    voxels = drawn(10, 1003)
    found = bins(voxels, 10)
    assert sorted(part.voxels for part in found) == [100] * 7 + [101] * 3
    assert [part.promised_hu for part in found] == sorted(part.promised_hu for part in found)
    squares = sum(part.voxels * part.rmse_hu**2 for part in found)
    assert squares / 1003 == pytest.approx(np.mean(voxels.error_hu**2))


def test_a_bin_that_promises_no_error_has_no_normalised_one() -> None:
    voxels = Voxels(np.zeros(20), np.repeat([0.0, 1.0], 10), np.ones(20))
    assert ence(bins(voxels, 10)) is None
    assert calibration([voxels], 10, BOOTSTRAP).tissues["all"].ence is None


def test_tissues_are_told_apart_by_the_mean_and_small_ones_left_out() -> None:
    mean = np.repeat([-900.0, 40.0, 800.0], [150, 300, 99])
    found = calibration([Voxels(mean, np.ones(549), np.ones(549))], 10, BOOTSTRAP).tissues
    assert {name: each.voxels for name, each in found.items()} == {
        "all": 549,
        "air": 150,
        "soft": 300,
    }


def test_every_subject_counts_once_in_a_coverage() -> None:
    covered = Voxels(np.zeros(1000), np.ones(1000), np.zeros(1000))
    missed = Voxels(np.zeros(200), np.ones(200), np.full(200, 99.0))
    found = calibration([covered, missed], 10, BOOTSTRAP)
    assert found.tissues["all"].coverage["80"].value == 0.5
    assert found.tissues["all"].subjects == 2
    assert found.worst == pytest.approx(0.5 - 0.95)


def test_the_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    std = rng.integers(1, 9, 500).astype(float)
    error = std * rng.standard_normal(500)
    found = calibration([Voxels(np.zeros(500), std, error)], 10, BOOTSTRAP).tissues["all"]
    assert found.correlation == pytest.approx(stats.spearmanr(std, np.abs(error)).statistic)
    same = calibration([Voxels(np.zeros(500), np.ones(500), error)], 10, BOOTSTRAP).tissues["all"]
    assert same.correlation is None


def test_a_recalibrated_deviation_takes_the_place_of_the_raw_one() -> None:
    voxels = drawn(10, 50_000, wrong_by=4.0)
    assert coverage(voxels, 10)["80"] < 0.4
    # the error has the truth's deviation and the mean's: 16 + 1/10 in place of 1 + 1/10
    scale = Scale(factor=np.sqrt(16.1 / 1.1), floor_hu=0.0)
    recalibration = of_scale(scale)
    after = recalibrated(voxels, recalibration)
    for p in LEVELS:
        assert coverage(after, 10)[name_of(p)] == pytest.approx(p, abs=0.01)
    np.testing.assert_array_equal(after.error_hu, voxels.error_hu)


def test_what_is_found_is_plain_json() -> None:
    text = json.dumps(asdict(calibration([drawn(10, 2000)], 10, BOOTSTRAP)), allow_nan=False)
    assert json.loads(text)["rule"] == "mean +- t(n - 1) sqrt(1 + 1/n) std"
