import numpy as np
import pytest
from dicom_study import make_grid

from mrct_runtime.bias import corrected
from mrct_runtime.errors import InputRejectedError
from mrct_runtime.intensity import MrNormalisation, body_mask
from mrct_runtime.manifest import Image
from mrct_runtime.translate import conditioned
from mrct_runtime.volume import Volume

N4 = MrNormalisation(bias_correction="n4")


def shaded(slices=1, pixels=48):
    """An MR of muscle, fat and bladder under a field that grows threefold from right to left, and where muscle is."""
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j]
    radius = (x / 0.85) ** 2 + (y / 0.6) ** 2
    tissue = np.select([radius > 1, radius > 0.75], [0.0, 1.0], 0.4)
    tissue[x**2 + (y - 0.1) ** 2 < 0.02] = 0.9
    field = np.exp(0.55 * x + 0.3 * y**2)
    signal = np.broadcast_to(400 * tissue * field, (slices, pixels, pixels))
    noise = np.abs(np.random.default_rng(0).normal(0, 4, signal.shape))
    grid = make_grid(signal.shape, (4.0, 6.0, 6.0))
    return Volume((signal + noise).astype(np.float32), grid), np.broadcast_to(
        tissue == 0.4, signal.shape
    )


def variation(array, where):
    return array[where].std() / array[where].mean()


@pytest.mark.parametrize("slices", [1, 6])
def test_one_tissue_has_one_signal_after_the_correction(slices):
    mr, muscle = shaded(slices)
    result = corrected(mr, body_mask(mr))
    assert variation(mr.array, muscle) > 0.2
    assert variation(result.array, muscle) < 0.03
    assert result.array.dtype == np.float32
    assert result.grid is mr.grid


def test_the_same_image_gives_the_same_field():
    mr, _ = shaded()
    np.testing.assert_array_equal(*(corrected(mr, body_mask(mr)).array for _ in range(2)))


def test_air_is_not_blown_up():
    mr, _ = shaded()
    body = body_mask(mr)
    assert corrected(mr, body).array[~body].max() < 2 * mr.array[~body].max()


def test_zeros_and_less_inside_the_mask_do_no_harm():
    mr, muscle = shaded()
    array = mr.array.copy()
    hole = np.zeros(array.shape, bool)
    hole[0, 20:26, 12:16] = True
    array[hole] = [0, -5] * (hole.sum() // 2)
    result = corrected(Volume(array, mr.grid), body_mask(mr)).array
    assert np.isfinite(result).all()
    assert variation(result, muscle & ~hole) < 0.03


def test_normalisation_corrects_where_the_model_asks_for_it():
    mr, muscle = shaded()
    plain, flat = (kind.normalise(mr).array for kind in (MrNormalisation(), N4))
    assert plain[muscle].std() > 0.06
    assert flat[muscle].std() < 0.02
    assert (flat.min(), flat.max()) == (0, 1)


def test_inference_sees_the_corrected_mr():
    mr, _ = shaded()
    image = Image(size=48, spacing_mm=6.0, multiple=1)
    seen = conditioned(mr, N4, image).condition
    expected = N4.normalise(mr.canonical()).resample(seen.grid, fill=0)
    np.testing.assert_allclose(seen.array, expected.array, atol=1e-6)


def test_an_empty_mask_is_told_before_the_field_is_sought():
    mr, _ = shaded()
    with pytest.raises(InputRejectedError, match="the body mask is empty"):
        N4.normalise(mr, np.zeros(mr.array.shape, bool))
