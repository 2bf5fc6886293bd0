from dataclasses import replace

import numpy as np
import pytest

from mrct_runtime.dicom.reference import Reference
from mrct_runtime.errors import SeriesError
from mrct_runtime.evaluation import metrics
from mrct_runtime.evaluation.metrics import SYNTHRAD_2023
from mrct_runtime.evaluation.tissue import tissues
from mrct_runtime.study_report.comparison import compare
from mrct_runtime.volume import Volume


def ball(result, radius):
    """The result with a body of this radius in voxels."""
    grid = result.given.body.grid
    s, y, x = np.indices(grid.shape)
    far = np.sqrt((s - 2.0) ** 2 + (y - 12.0) ** 2 + (x - 12.0) ** 2)
    return replace(result, given=replace(result.given, body=Volume(far <= radius, grid)))


def test_the_metrics_are_those_of_the_evaluation_inside_the_body(sound, reference):
    result = ball(sound, 5)
    found = compare(result, reference)
    truth, image = (
        result.source.volume.grid.canonically(each) for each in (reference.hu, result.mean_hu.array)
    )
    body = result.given.body.array
    assert found.metrics["mae_hu"] == pytest.approx(metrics.mae(truth, image, body))
    for name, where in tissues(truth).items():
        if (where & body).any():
            expected = metrics.mae(truth, image, where & body)
            assert found.metrics[f"mae_{name}_hu"] == pytest.approx(expected)
    assert found.metrics["psnr_2023"] == pytest.approx(
        metrics.psnr(truth, image, body, SYNTHRAD_2023)
    )


def test_the_crop_around_the_body_changes_no_similarity():
    from mrct_runtime.study_report.comparison import _metrics

    rng = np.random.default_rng(0)
    truth = rng.normal(0, 300, (20, 60, 70))
    image = truth + rng.normal(0, 80, truth.shape)
    where = np.zeros(truth.shape, bool)
    where[4:15, 0:30, 20:50] = True
    expected = metrics.ssim(truth, image, where, SYNTHRAD_2023)
    assert _metrics(truth, image, where)["ssim_2023"] == pytest.approx(expected, abs=1e-12)


def test_a_stack_too_thin_for_the_windows_has_no_ssim(sound, reference):
    assert "ssim_2023" not in compare(sound, reference).metrics


def test_coverage_is_the_share_of_voxels_inside_the_intervals(sound):
    rng = np.random.default_rng(1)
    std = sound.std_hu.array
    # the truth is one more sample: the mean of six has an error of its own
    error = rng.normal(0, 1, std.shape) * 0.1 * 4095
    truth = Reference((sound.mean_hu.array + error).astype(np.float32), std > -1, resampled=False)
    found = compare(sound, truth)
    assert found.coverage["95"] == pytest.approx(0.96, abs=0.03)
    assert found.coverage["50"] == pytest.approx(0.5, abs=0.06)
    far = Reference(sound.mean_hu.array + 1e4, std > -1, resampled=False)
    assert compare(sound, far).coverage["95"] == 0


def test_the_error_of_one_value_is_the_mean_distance_from_the_median(sound, reference):
    found = compare(sound, reference)
    inside = found.truth[found.where]
    assert found.constant_hu == pytest.approx(np.abs(inside - np.median(inside)).mean())


def test_only_where_the_true_ct_is_shown_counts(sound, reference):
    shown = reference.shown.copy()
    shown[:2] = False
    wrong = np.where(shown, reference.hu, -9999)
    found = compare(sound, Reference(wrong, shown, resampled=True))
    assert found.covered == pytest.approx(3 / 5, abs=0.01)
    assert found.metrics["mae_hu"] < 300


def test_a_true_ct_of_little_of_the_body_is_refused(sound, reference):
    shown = np.zeros_like(reference.shown)
    shown[:2] = True
    with pytest.raises(SeriesError, match=r"shows 40% of the MR's body, at least 50%"):
        compare(sound, Reference(reference.hu, shown, resampled=True))


def test_of_one_sample_or_samples_that_share_nothing_is_said_of_the_deviation(sound, reference):
    shared = replace(sound.counters, standard_error_hu=None)
    assert compare(replace(sound, counters=shared), reference).coverage == {}
    one = replace(sound.counters, samples=(1,) * 5)
    assert compare(replace(sound, counters=one), reference).bins == ()


def test_the_record_is_plain_json(sound, reference):
    record = compare(sound, reference).record()
    assert record["metrics"]["mae_hu"] == pytest.approx(160, rel=0.1)
    assert set(record["coverage"]) == {"50", "80", "95"}
