import numpy as np
import pytest
from dicom_study import make_grid
from fitted import recalibration

from mrct_runtime.finished import Finished
from mrct_runtime.intensity import AIR_HU, HuWindow
from mrct_runtime.placing import Placing
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume, model_grid

WINDOW = HuWindow()
RAW = Uncertainty(None, "raw")
SHAPE = (6, 14, 11)
TURNS = {
    "straight": (0, 0, 0),
    "rows and columns flipped": (0, 0, 180),
    "slices flipped": (0, 180, 0),
    "oblique": (12, -8, 25),
    "sagittal": (0, 90, 0),
    "coronal": (90, 0, 0),
    "oblique sagittal": (10, 75, 5),
}


def case(angles, spacing_mm):
    """An MR's volume, and mean, deviation and body [S, N, N] of a model with pixels of that size."""
    rng = np.random.default_rng(0)
    grid = make_grid(SHAPE, (3.0, 1.5, 2.0), angles)
    source = Volume(rng.random(SHAPE), grid)
    model = model_grid(source.canonical(), 13, spacing_mm)
    mean, std = rng.random((2, *model.shape)) * 1.4 - 0.2
    body = rng.random(model.shape) < 0.7
    return source, model, mean, np.abs(std), body


def placed(source, model, mean, std, body, uncertainty=RAW):
    placing = Placing(Volume(body, model), source, WINDOW, uncertainty)
    # in no order: slices finish as they like
    for s in np.random.default_rng(1).permutation(len(mean)):
        placing.place(Finished(int(s), mean[s], std[s], (4,)))
    return placing


def whole(source, model, mean, std, body, uncertainty=RAW):
    """The same with the volume resampled at once, in three dimensions."""
    target = source.grid
    hu = Volume(WINDOW.to_hu(mean.clip(0, 1)).astype(np.float32), model)
    spread = Volume((std * WINDOW.width).astype(np.float32), model)
    hu, spread = hu.resample(target, fill=AIR_HU), spread.resample(target, fill=0.0)
    inside = Volume(body.astype(np.uint8), model).resample(target, fill=0, order=0).array == 1
    return hu.array, uncertainty.apply(hu.array, spread.array, inside)


@pytest.mark.parametrize("spacing_mm", [0.8, 2.5])
@pytest.mark.parametrize("angles", TURNS.values(), ids=TURNS)
def test_slice_by_slice_gives_the_voxels_of_the_whole_volume(angles, spacing_mm):
    given = case(angles, spacing_mm)
    placing, (mean, std) = placed(*given), whole(*given)
    assert placing.mean_hu.array.dtype == placing.std_hu.array.dtype == np.float32
    assert np.abs(placing.mean_hu.array - mean).max() < 1e-3
    assert np.abs(placing.std_hu.array - std).max() < 1e-3
    # both ways see the model's field of view end within the MR's, or not
    assert np.array_equal(placing.mean_hu.array == AIR_HU, mean == AIR_HU)


@pytest.mark.parametrize("angles", TURNS.values(), ids=TURNS)
def test_a_recalibration_meets_the_same_voxels(angles):
    given = case(angles, 1.37)
    fitted = Uncertainty(recalibration("em", mc=4, steps=20), "fitted")
    found = placed(*given, fitted).std_hu.array
    _, raw = whole(*given)
    _, expected = whole(*given, fitted)
    assert np.abs(expected - raw).max() > 10
    assert np.abs(found - expected).max() < 1e-3


def test_on_the_models_own_grid_nothing_is_interpolated():
    source, _, _, _, _ = case((0, 0, 0), 1.0)
    canonical = source.canonical()
    grid = canonical.grid
    mean = np.random.default_rng(2).random(grid.shape)
    placing = placed(canonical, grid, mean, mean, np.ones(grid.shape, bool))
    assert np.array_equal(placing.mean_hu.array, WINDOW.to_hu(mean).astype(np.float32))
