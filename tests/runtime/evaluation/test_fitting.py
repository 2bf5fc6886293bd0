from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.evaluation.calibration import (
    LEVELS,
    Voxels,
    bins,
    coverage,
    ence,
    name_of,
    recalibrated,
)
from mrct_runtime.evaluation.fitting import fit, fit_scale

N = 10
HU = {"air": -900.0, "soft": 40.0, "bone": 800.0}


def made(factor: float, floor: float, *, seed: int = 0, count: int = 20_000, hu=40.0) -> Voxels:
    """Voxels whose errors follow Student's t, with sqrt((factor std)^2 + floor^2) for the deviation."""
    rng = np.random.default_rng(seed)
    std = np.exp(rng.normal(2.5, 0.8, count))
    t = stats.t.rvs(N - 1, size=count, random_state=rng) * np.sqrt(1 + 1 / N)
    return Voxels(np.full(count, hu), std, t * np.hypot(factor * std, floor))


def men(count: int, seed: int) -> list[Voxels]:
    """Subjects with three tissues, each with its own truth."""
    truth = {"air": (0.5, 40.0), "soft": (1.2, 5.0), "bone": (3.0, 0.0)}
    return [
        Voxels.together(
            [
                made(*truth[name], seed=seed + 10 * k + j, count=4000, hu=HU[name])
                for j, name in enumerate(HU)
            ]
        )
        for k in range(count)
    ]


def fitted(subjects, **changes):
    return fit(subjects, {"steps": 5}, N, data="drawn", slices=3, **changes)


def off(voxels: Voxels) -> float:
    """How far the coverage furthest from nominal is."""
    found = coverage(voxels, N)
    return max(abs(found[name_of(p)] - p) for p in LEVELS)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_a_wrong_factor_is_found(factor) -> None:
    scale = fit_scale(made(factor, 0.0), N)
    assert scale.factor == pytest.approx(factor, rel=0.06)
    assert scale.floor_hu < 2 * factor


def test_a_factor_and_a_floor_are_told_apart() -> None:
    scale = fit_scale(made(1.5, 20.0), N)
    assert scale.factor == pytest.approx(1.5, rel=0.08)
    assert scale.floor_hu == pytest.approx(20, rel=0.08)


def test_without_a_floor_the_error_where_samples_agree_is_not_met() -> None:
    voxels = made(0.5, 20.0)
    found = {}
    for name, scale in (("no", fit_scale(voxels, N, (0.0,))), ("yes", fit_scale(voxels, N))):
        after = Voxels(voxels.mean_hu, scale.apply(voxels.std_hu), voxels.error_hu)
        found[name] = ence(bins(after, N))
    # the root mean square of Student's t is that much above its scale
    least = np.sqrt((N - 1) / (N - 3)) - 1
    assert found["yes"] == pytest.approx(least, abs=0.03)
    assert found["no"] > 2 * least


def test_a_deviation_of_zero_gets_a_floor() -> None:
    rng = np.random.default_rng(0)
    voxels = Voxels(np.zeros(5000), np.zeros(5000), 30 * rng.standard_normal(5000))
    scale = fit_scale(voxels, N)
    # a normal error under Student's wider intervals asks for less than its own deviation
    assert 20 < scale.floor_hu < 30
    after = Voxels(voxels.mean_hu, scale.apply(voxels.std_hu), voxels.error_hu)
    assert off(after) < 0.05


def test_a_deviation_that_is_right_is_left_nearly_as_it_is() -> None:
    voxels = made(1.0, 0.0)
    scale = fit_scale(voxels, N)
    np.testing.assert_allclose(scale.apply(voxels.std_hu), voxels.std_hu, rtol=0.1)


@pytest.mark.parametrize("heavy", ["laplace", "mixture"])
def test_heavy_tails_are_covered_within_five_points_at_every_level(heavy) -> None:
    rng = np.random.default_rng(1)
    std = np.exp(rng.normal(2.5, 0.8, 20_000))
    z = rng.laplace(size=20_000)
    if heavy == "mixture":
        z = rng.standard_normal(20_000) * np.where(rng.random(20_000) < 0.15, 3.0, 0.8)
    voxels = Voxels(np.zeros(20_000), std, 2 * std * z)
    assert off(voxels) > 0.15
    scale = fit_scale(voxels, N)
    assert off(Voxels(voxels.mean_hu, scale.apply(std), voxels.error_hu)) < 0.05


def test_tissues_fitted_on_some_subjects_are_covered_in_others() -> None:
    recalibration = fitted(men(2, seed=100))
    for subject in men(2, seed=500):
        after = recalibrated(subject, recalibration)
        assert off(after) < 0.02
        for name, voxels in after.by_tissue().items():
            assert off(voxels) < 0.03, name


def test_one_scale_for_all_tissues_misses_them() -> None:
    after = recalibrated(men(1, seed=500)[0], fitted(men(2, seed=100), by_tissue=False))
    assert off(after) < 0.1
    assert off(after.by_tissue()["bone"]) > 0.07


def test_a_tissue_with_too_few_voxels_gets_the_scale_of_the_body() -> None:
    subject = Voxels.together([made(2.0, 0.0, count=400), made(9.0, 0.0, count=99, hu=HU["bone"])])
    scales = fitted([subject]).scales
    assert scales["air"] == scales["bone"] != scales["soft"]


def test_it_says_what_it_was_fitted_on() -> None:
    subjects = men(2, seed=100)
    found = fitted(subjects)
    assert (found.options, found.mc, found.subjects, found.slices) == ({"steps": 5}, N, 2, 3)
    for p in LEVELS:
        before, after = found.coverage[name_of(p)]
        assert before == coverage(Voxels.together(subjects), N)[name_of(p)]
        assert after == pytest.approx(p, abs=0.02)


def test_too_few_voxels_are_refused() -> None:
    with pytest.raises(InputRejectedError, match="50 voxels are too few"):
        fitted([made(1.0, 0.0, count=50)])
