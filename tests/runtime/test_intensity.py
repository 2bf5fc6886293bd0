import numpy as np
import pytest
from dicom_study import make_grid
from scipy import ndimage
from skimage.filters import threshold_otsu

from mrct_runtime.dicom import read_study
from mrct_runtime.errors import InputRejectedError, UsageError
from mrct_runtime.intensity import HuWindow, MrLevels, MrNormalisation, body_mask
from mrct_runtime.scratch import IN_MEMORY, Scratch
from mrct_runtime.volume import Volume

GRID = make_grid((6, 96, 96), (3.0, 3.0, 3.0))


def pelvis(noise=0.02, gain=400.0, seed=0):
    """A cut through fat, muscle, bone without signal and a bladder, in air with Rician noise; and the body's mask."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    radius = (x / 0.85) ** 2 + (y / 0.6) ** 2
    signal = np.select([radius > 1, radius > 0.75], [0.0, 1.0], 0.25)
    signal[x**2 + (y - 0.1) ** 2 < 0.02] = 0.9
    signal[(np.abs(x) - 0.4) ** 2 + y**2 < 0.01] = 0.02
    rng = np.random.default_rng(seed)
    shape = (6, 96, 96)
    real = signal * (1 + 0.3 * x) + noise * rng.normal(size=shape)
    magnitude = np.hypot(real, noise * rng.normal(size=shape)) * gain
    return Volume(magnitude.astype(np.float32), GRID), np.broadcast_to(radius <= 1, shape)


def test_every_whole_hu_survives_the_way_through_the_network_range():
    hu = np.arange(-1024, 3072)
    unit = HuWindow().to_unit(hu)
    assert unit.dtype == np.float32
    assert (unit[0], unit[-1]) == (0.0, 1.0)
    np.testing.assert_array_equal(np.rint(HuWindow().to_hu(unit)), hu)


def test_the_hu_map_is_linear_and_does_not_clip():
    window = HuWindow(-1000.0, 1000.0)
    np.testing.assert_allclose(window.to_unit(np.array([-2000, 0, 3000])), [-0.5, 0.5, 2.0])
    np.testing.assert_allclose(window.to_hu(np.array([-0.5, 0.5, 2.0])), [-2000, 0, 3000])
    np.testing.assert_array_equal(window.clip(np.array([-2000, 0, 3000])), [-1000, 0, 1000])


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_hu_window_needs_low_below_high(low, high):
    with pytest.raises(UsageError, match="low < high"):
        HuWindow(low, high)


def test_the_percentiles_of_the_body_become_0_and_1():
    values = np.zeros(GRID.shape, np.float32)
    mask = np.zeros(GRID.shape, bool)
    mask[0, :10] = True
    values[mask] = np.linspace(100, 200, mask.sum())
    mr = Volume(values, GRID)
    levels = MrNormalisation(10.0, 90.0).levels(mr, mask)
    assert (levels.low, levels.high) == pytest.approx((110.0, 190.0))
    np.testing.assert_allclose(
        levels.to_unit(np.array([0.0, 110.0, 150.0, 190.0, 500.0])), [0, 0, 0.5, 1, 1], atol=1e-6
    )
    normal = MrNormalisation(10.0, 90.0).normalise(mr, mask)
    assert normal.array.dtype == np.float32
    assert (normal.array.min(), normal.array.max()) == (0.0, 1.0)


@pytest.mark.parametrize("gain", [0.37, 12.0])
def test_the_scanner_gain_does_not_matter(gain):
    plain, _ = pelvis()
    louder = Volume(plain.array * np.float32(gain), GRID)
    rule = MrNormalisation()
    np.testing.assert_allclose(rule.normalise(louder).array, rule.normalise(plain).array, atol=1e-5)


def test_a_few_hot_voxels_do_not_darken_the_rest():
    plain, _ = pelvis()
    hot = plain.array.copy()
    hot[3, 40:42, 40:44] = 1e5
    rule = MrNormalisation()
    before, after = (
        rule.levels(plain, body_mask(plain)),
        rule.levels(Volume(hot, GRID), body_mask(Volume(hot, GRID))),
    )
    assert after.high == pytest.approx(before.high, rel=0.01)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03, 0.06])
def test_the_body_is_found_whole_with_muscle_and_bone_and_without_air(noise):
    mr, truth = pelvis(noise)
    found = body_mask(mr)
    dice = 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum())
    assert dice > 0.97


def of_the_whole(mr):
    """The body mask of all slices at once."""
    pixels = 2 / mr.grid.spacing_mm
    smooth = ndimage.gaussian_filter(mr.array, (0, pixels[1], pixels[2]))
    floor = 0.02 * float(np.percentile(smooth, 99.0)) + np.finfo(np.float32).tiny
    logarithm = np.log(np.maximum(smooth, 0) + floor)
    bright = logarithm > threshold_otsu(logarithm.ravel())
    parts, _ = ndimage.label(bright)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return np.stack([ndimage.binary_fill_holes(part) for part in largest])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_slice_by_slice_mask_and_image_are_those_of_the_whole_to_the_last_bit(
    seed, on_disk, tmp_path
):
    scratch = Scratch(tmp_path, 0) if on_disk else IN_MEMORY
    rng = np.random.default_rng(seed)
    grid = make_grid((9, 60, 70), (3.0, 1.4, 1.1))
    y, x = np.ogrid[:60, :70]
    body = ((y - 30) / 20) ** 2 + ((x - 35) / 28) ** 2 < 1
    signal = rng.gamma(2, 15, grid.shape) + body * rng.gamma(3, 150, grid.shape)
    signal[:4, 26:34, :3] += 400  # something beside the body
    mr = Volume(signal.astype(np.float32), grid)
    mask = body_mask(mr, scratch)
    np.testing.assert_array_equal(mask, of_the_whole(mr), strict=True)
    low, high = np.percentile(mr.array[mask], (0.5, 99.5))
    unit = np.clip((mr.array.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    found = MrNormalisation().normalise(mr, mask, scratch)
    np.testing.assert_array_equal(found.array, unit, strict=True)


def test_what_lies_apart_from_the_body_is_left_out():
    mr, _ = pelvis()
    mr.array[:, 4:8, 46:50] = 400.0
    assert not body_mask(mr)[:, :12].any()


def test_a_stack_of_four_cuts_across_the_columns_is_taken_for_no_colour_picture():
    mr, _ = pelvis()
    few = Volume(mr.array[..., 46:50], make_grid((6, 96, 4), (3.0, 3.0, 3.0)))
    # warnings are errors here, and a picture of four columns looks like one of four colours
    assert body_mask(few).shape == few.array.shape


def test_a_field_of_view_inside_the_body_is_all_body(shared_data):
    mr = read_study(shared_data / "prostatex_mr_dicom" / "ProstateX").volume
    assert body_mask(mr).all()
    unit = MrNormalisation().normalise(mr).array
    # What a display of the whole range would show: not black, not white.
    assert 0.2 < np.median(unit) < 0.6


def test_a_real_head_is_told_from_the_air_around_it(shared_data):
    mr = read_study(shared_data / "ge_fse_pd_axial_dicom", series="2").volume
    found = body_mask(mr)
    assert 0.40 < found.mean() < 0.55
    assert not found[:, -16:].any()
    assert found[8, 120:136, 120:136].all()


@pytest.mark.parametrize("value", [0.0, -3.0, 17.0])
def test_an_even_picture_is_refused(value):
    with pytest.raises(InputRejectedError, match="holds no image"):
        body_mask(Volume(np.full(GRID.shape, value, np.float32), GRID))


def test_numbers_that_are_none_are_refused():
    mr, _ = pelvis()
    mr.array[2, 3, 4] = np.nan
    with pytest.raises(InputRejectedError, match="1 voxels that are not numbers"):
        body_mask(mr)


def test_levels_need_a_body_with_contrast():
    mr, _ = pelvis()
    with pytest.raises(InputRejectedError, match="mask is empty"):
        MrNormalisation().levels(mr, np.zeros(GRID.shape, bool))
    even = Volume(np.ones(GRID.shape, np.float32), GRID)
    with pytest.raises(InputRejectedError, match="nearly everywhere"):
        MrNormalisation().levels(even, np.ones(GRID.shape, bool))
    with pytest.raises(InputRejectedError, match="does not fit"):
        MrNormalisation().levels(mr, np.ones((1, 2, 3), bool))


@pytest.mark.parametrize(("low", "high"), [(50, 50), (-1, 99), (1, 101)])
def test_percentiles_must_be_percentiles(low, high):
    with pytest.raises(UsageError, match="percentiles"):
        MrNormalisation(low, high)


def test_levels_map_linearly():
    np.testing.assert_allclose(MrLevels(10, 30).to_unit(np.array([10, 20, 30])), [0, 0.5, 1])
