import numpy as np
import pytest
from dicom_study import make_grid
from scipy import ndimage
from skimage.draw import polygon2mask

from mrct_runtime.contours import body, outlines
from mrct_runtime.intensity import body_mask
from mrct_runtime.volume import Volume


def blobs(seed, shape=(40, 50)):
    """Pieces of any shape without holes, some of them at the image's edge."""
    rough = np.random.default_rng(seed).normal(size=shape)
    return ndimage.binary_fill_holes(ndimage.gaussian_filter(rough, 2.5) > 0.03)


@pytest.mark.parametrize("seed", range(8))
def test_the_voxels_inside_the_outlines_are_the_mask(seed):
    mask = blobs(seed)
    polygons = outlines(mask)
    drawn = sum(polygon2mask(mask.shape, polygon).astype(int) for polygon in polygons)
    assert np.array_equal(drawn == 1, mask)
    assert len(polygons) == ndimage.label(mask)[1]


def test_a_whole_image_has_the_outline_of_its_outermost_voxels_and_nothing_has_none():
    (outline,) = outlines(np.ones((10, 20), bool))
    assert (outline.min(axis=0), outline.max(axis=0)) == (
        pytest.approx([-0.5, -0.5]),
        pytest.approx([9.5, 19.5]),
    )
    assert len(outline) == 8
    assert outlines(np.zeros((10, 20), bool)) == ()


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 180, 0), (90, 0, 0)])
def test_the_body_is_that_of_the_canonical_mr_on_the_mrs_own_axes(angles):
    grid = make_grid((20, 48, 40), (3, 2, 2), angles)
    s, y, x = (np.linspace(-1, 1, n) for n in grid.shape)
    inside = (s[:, None, None] ** 2 + y[None, :, None] ** 2 + (x[None, None] - 0.2) ** 2) < 0.4
    mr = Volume(np.where(inside, 900.0, 5.0).astype(np.float32), grid)
    found = body(mr)
    assert np.array_equal(grid.canonically(found.array), body_mask(mr.canonical()))
    # the smoothing before the split moves the edge by less than the blur
    assert np.mean(found.array != inside) < 0.05
