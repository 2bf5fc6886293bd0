from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrct_runtime.evaluation import metrics
from mrct_runtime.evaluation.metrics import SYNTHRAD_2023, SYNTHRAD_2025, HuRange
from mrct_runtime.evaluation.tissue import tissues


@pytest.fixture(scope="module")
def volume():
    """The images of the recipe by which the challenges' own programs were run."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 300, (40, 80, 90)).astype("f4").clip(-1500, 3500)
    image = truth + rng.normal(0, 80, truth.shape).astype("f4")
    mask = np.zeros(truth.shape, bool)
    mask[5:35, 10:70, 10:80] = True
    return truth, image, mask


def test_the_numbers_of_the_challenges_own_programs_come_out(volume) -> None:
    # GPL and MIT programs of SynthRAD2023 and 2025, run on the same images
    assert metrics.mae(*volume) == pytest.approx(63.92605635, abs=1e-7)
    assert metrics.psnr(*volume, SYNTHRAD_2023) == pytest.approx(34.01384870, abs=1e-7)
    assert metrics.ssim(*volume, SYNTHRAD_2023) == pytest.approx(0.97607336, abs=1e-8)
    assert metrics.ms_ssim(*volume, SYNTHRAD_2023) == pytest.approx(0.99608750, abs=1e-8)
    assert metrics.psnr(*volume, SYNTHRAD_2025) == pytest.approx(34.16576738, abs=1e-7)
    assert metrics.ms_ssim(*volume, SYNTHRAD_2025) == pytest.approx(0.99612602, abs=1e-8)


def test_mae_is_the_mean_over_the_mask_and_clips_nothing() -> None:
    truth = np.array([[0.0, 5000.0], [-3000.0, 7.0]])
    image = np.array([[10.0, 4000.0], [0.0, 9999.0]])
    mask = np.array([[True, True], [True, False]])
    assert metrics.mae(truth, image, mask) == pytest.approx((10 + 1000 + 3000) / 3)


def test_psnr_clips_both_images_and_knows_the_range() -> None:
    truth, image = np.array([[4000.0, 0.0]]), np.array([[3500.0, 30.0]])
    mask = np.ones((1, 2), bool)
    # 4000 and 3500 both become 3000; the mean square is 30^2 / 2
    expected = 10 * math.log10(4024**2 / 450)
    assert metrics.psnr(truth, image, mask, SYNTHRAD_2023) == pytest.approx(expected)
    assert metrics.psnr(truth, truth, mask, SYNTHRAD_2023) == math.inf


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    truth, image = np.full((9, 9), -924.0), np.full((9, 9), -824.0)
    c1 = (0.01 * 4024) ** 2
    expected = (2 * 100 * 200 + c1) / (100**2 + 200**2 + c1)
    mask = np.ones((9, 9), bool)
    assert metrics.ssim(truth, image, mask, SYNTHRAD_2023) == pytest.approx(expected)


def test_ms_ssim_of_flat_images_has_the_luminance_at_every_level() -> None:
    truth, image = np.full((128, 128), 10.0), np.full((128, 128), 20.0)
    limits, mask = HuRange(0.0, 1000.0), np.ones((128, 128), bool)
    c1 = (0.01 * 1000) ** 2
    luminance = (2 * 10 * 20 + c1) / (10**2 + 20**2 + c1)
    assert metrics.ms_ssim(truth, truth, mask, limits) == pytest.approx(1.0)
    # halving darkens the first row and column, as in the challenge's program, which costs a little
    found = metrics.ms_ssim(truth, image, mask, limits)
    assert found == pytest.approx(luminance ** sum(metrics.LEVELS), rel=0.01)


def test_ssim_averages_only_windows_that_the_mask_and_the_borders_leave() -> None:
    rng = np.random.default_rng(1)
    truth, image = rng.normal(0, 300, (2, 20, 24))
    mask = np.zeros((20, 24), bool)
    mask[2:12, 4:15] = True
    inside = [np.where(mask, each.clip(-1024, 3000), -1024) + 1024 for each in (truth, image)]
    _, full = structural_similarity(*inside, data_range=4024, full=True)
    expected = full[3:12, 4:15].mean()
    assert metrics.ssim(truth, image, mask, SYNTHRAD_2023) == pytest.approx(expected)


def test_the_papers_measures_are_those_of_scikit_image_on_clipped_slices() -> None:
    truth, image = np.random.default_rng(2).normal(0.5, 0.4, (2, 30, 31))
    clipped = truth.clip(0, 1), image.clip(0, 1)
    expected = structural_similarity(*clipped, data_range=1.0)
    assert metrics.paper_ssim(truth, image) == pytest.approx(expected)
    expected = peak_signal_noise_ratio(*clipped, data_range=1.0)
    assert metrics.paper_psnr(truth, image) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [metrics.ssim, metrics.ms_ssim, metrics.psnr])
@pytest.mark.parametrize("shape", [(100, 110), (12, 20, 16)])
def test_more_noise_is_worse_in_slices_and_volumes(measure, shape) -> None:
    rng = np.random.default_rng(3)
    truth, noise = rng.normal(0, 300, (2, *shape))
    mask = np.zeros(shape, bool)
    mask[tuple(slice(4, -4) for _ in shape)] = True
    scores = [measure(truth, truth + size * noise, mask, SYNTHRAD_2025) for size in (0.1, 0.5, 1)]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0]


@pytest.mark.parametrize("measure", [metrics.ssim, metrics.ms_ssim, metrics.psnr])
def test_what_does_not_exist_is_not_a_number(measure) -> None:
    image, nothing = np.zeros((20, 20)), np.zeros((20, 20), bool)
    assert math.isnan(measure(image, image, nothing, SYNTHRAD_2023))
    assert math.isnan(metrics.mae(image, image, nothing))
    small = np.zeros((5, 20))
    assert math.isnan(metrics.ssim(small, small, small == 0, SYNTHRAD_2023))
    assert math.isnan(metrics.paper_ssim(small, small))


def test_every_voxel_is_one_tissue() -> None:
    hu = np.array([-1024.0, -200.5, -200.0, 0.0, 250.0, 250.5, 3000.0])
    found = tissues(hu)
    assert {name: where.tolist() for name, where in found.items()} == {
        "air": [True, True, False, False, False, False, False],
        "soft": [False, False, True, True, True, False, False],
        "bone": [False, False, False, False, False, True, True],
    }
