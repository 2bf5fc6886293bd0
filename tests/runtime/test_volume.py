from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid
from scipy.ndimage import affine_transform

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.nifti import ras_affine
from mrct_runtime.scratch import IN_MEMORY, Scratch
from mrct_runtime.volume import Grid, Volume, model_grid

OBLIQUE = make_grid((9, 40, 50), (3.0, 1.0, 1.2), (10, 5, 3))


def noise(grid, seed=0):
    return Volume(np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32), grid)


def itk(volume):
    image = SimpleITK.GetImageFromArray(volume.array)
    image.SetOrigin(volume.grid.affine[:3, 3].tolist())
    image.SetSpacing(volume.grid.spacing_mm[::-1].tolist())
    image.SetDirection(volume.grid.directions[:, ::-1].ravel().tolist())
    return image


def ramp(grid):
    """A function of the place in the patient alone."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return grid.world(index) @ np.array([1.0, -2.0, 0.5]) + 7.0


def orientations():
    return [
        (axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
    ]


def turned(volume, axes, signs):
    """The same voxels stored in another axis order and direction."""
    array = volume.array.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
    shape = volume.grid.shape
    start = np.zeros(3)
    affine = np.eye(4)
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, new] = sign * volume.grid.affine[:3, old]
        start[old] = 0 if sign > 0 else shape[old] - 1
    affine[:3, 3] = volume.grid.world(start)
    return Volume(array, Grid(affine, array.shape))


def test_positions_agree_with_nibabel():
    index = np.random.default_rng(0).uniform(-5, 50, (100, 3))
    lps = OBLIQUE.world(index)
    ras = nibabel.affines.apply_affine(ras_affine(noise(OBLIQUE)), index[:, ::-1])
    np.testing.assert_allclose(lps * (-1, -1, 1), ras, atol=1e-9)
    np.testing.assert_allclose(OBLIQUE.index(lps), index, atol=1e-9)


def test_the_origin_is_the_centre_of_the_first_voxel():
    np.testing.assert_array_equal(OBLIQUE.world((0, 0, 0)), OBLIQUE.affine[:3, 3])
    np.testing.assert_allclose(
        np.linalg.norm(OBLIQUE.world((0, 0, 1)) - OBLIQUE.world((0, 0, 0))), 1.2
    )


@pytest.mark.parametrize("order", [0, 1])
def test_resampling_agrees_with_simpleitk_edges_and_outside_included(order):
    source = noise(OBLIQUE)
    target = make_grid((12, 60, 70), (2.0, 0.6, 0.7), (8, 6, 0), (-22, 8, -44))
    kind = SimpleITK.sitkLinear if order else SimpleITK.sitkNearestNeighbor
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(itk(source), itk(noise(target)), SimpleITK.Transform(), kind, -7.0)
    )
    found = source.resample(target, fill=-7.0, order=order).array
    assert 0.05 < np.mean(expected == -7.0) < 0.5, "the target must reach outside the source"
    np.testing.assert_array_equal(found == -7.0, expected == -7.0)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_slice_by_slice_the_values_are_those_of_the_whole_to_the_last_bit(order, on_disk, tmp_path):
    source = noise(OBLIQUE)
    scratch = Scratch(tmp_path, 0) if on_disk else IN_MEMORY
    other = make_grid((12, 60, 70), (2.0, 0.6, 0.7), (8, 6, 0), (-22, 8, -44))
    for target in (other, model_grid(OBLIQUE, 60, 0.9)):
        move = np.linalg.inv(OBLIQUE.affine) @ target.affine
        whole = affine_transform(
            source.array,
            *(move[:3, :3], move[:3, 3]),
            output_shape=target.shape,
            order=order,
            mode="nearest",
        )
        found = source.resample(target, fill=-7.0, order=order, scratch=scratch).array
        inside = found != -7.0
        assert 0.5 < inside.mean() < 1
        np.testing.assert_array_equal(found[inside], whole[inside])


def test_an_equal_grid_gives_the_very_array_back():
    source = noise(OBLIQUE)
    again = source.resample(Grid(OBLIQUE.affine.copy(), OBLIQUE.shape), fill=0.0)
    assert again.array is source.array


@pytest.mark.parametrize("spacing", [0.5, 1.0, 3.0])
def test_what_depends_on_the_place_alone_survives_finer_and_coarser_grids(spacing):
    source = Volume(ramp(OBLIQUE), OBLIQUE)
    target = model_grid(OBLIQUE, int(24 / spacing), spacing)
    np.testing.assert_allclose(
        source.resample(target, fill=0.0).array, ramp(target), rtol=0, atol=1e-6
    )


def test_a_landmark_stays_where_it_is_in_the_patient():
    landmark = OBLIQUE.world((4.3, 21.7, 24.2))
    index = np.stack(np.meshgrid(*map(np.arange, OBLIQUE.shape), indexing="ij"), axis=-1)

    def centroid(volume):
        index = np.stack(np.meshgrid(*map(np.arange, volume.grid.shape), indexing="ij"), axis=-1)
        weight = volume.array[..., None] / volume.array.sum()
        return (volume.grid.world(index) * weight).sum(axis=(0, 1, 2))

    distance = np.linalg.norm(OBLIQUE.world(index) - landmark, axis=-1)
    blob = Volume(np.exp(-((distance / 3.0) ** 2)), OBLIQUE)
    fine = blob.resample(
        make_grid((40, 60, 60), (1.0, 0.8, 0.8), (10, 5, 3), (-20, 5, -45)), fill=0
    )
    np.testing.assert_allclose(centroid(fine), centroid(blob), atol=0.01)
    np.testing.assert_allclose(centroid(blob.canonical()), centroid(blob), atol=1e-4)


def test_a_pattern_finer_than_the_target_fades_instead_of_aliasing():
    # Odd sizes: every coarse pixel's centre falls on a fine one's, so plain sampling would see one stripe only.
    grid = make_grid((3, 65, 65), (3.0, 1.0, 1.0))
    stripes = np.broadcast_to(np.where(np.arange(65) % 2, 1.0, -1.0)[:, None], (65, 65))
    source = Volume(np.stack([stripes] * 3).astype(np.float32) + 5, grid)
    coarse = source.resample(model_grid(grid, 15, 4.0), fill=0.0).array
    assert np.abs(coarse - 5).max() < 0.02
    np.testing.assert_allclose(coarse.mean(), 5, atol=1e-3)


def test_a_constant_goes_to_the_model_and_back_unchanged():
    source = Volume(np.full(OBLIQUE.shape, 40.0, np.float32), OBLIQUE)
    there = source.resample(model_grid(OBLIQUE, 32, 2.0), fill=40.0)
    back = there.resample(OBLIQUE, fill=-1024.0)
    assert back.grid.matches(OBLIQUE)
    np.testing.assert_allclose(back.array, 40.0, atol=1e-4)


def test_labels_are_neither_mixed_nor_smoothed():
    labels = Volume(np.random.default_rng(0).integers(0, 2, OBLIQUE.shape) > 0, OBLIQUE)
    coarse = labels.resample(model_grid(OBLIQUE, 16, 2.5), fill=0, order=0)
    assert coarse.array.dtype == bool


@pytest.mark.parametrize(("axes", "signs"), orientations())
def test_any_storage_order_has_one_canonical_form(axes, signs):
    upright = noise(make_grid((4, 5, 6), (3.0, 1.0, 1.2), (18, -6, 4)))
    assert upright.canonical().grid.matches(upright.grid)
    found = turned(upright, axes, signs).canonical()
    np.testing.assert_array_equal(found.array, upright.array)
    np.testing.assert_allclose(found.grid.affine, upright.grid.affine, atol=1e-12)


def test_a_canonical_stack_keeps_its_tilt():
    tilted = noise(make_grid(angles=(18, 0, 0))).canonical()
    np.testing.assert_allclose(np.degrees(np.arccos(tilted.grid.normal[2])), 18.0)


def test_the_normal_points_to_where_the_slices_count_up():
    for signs in product((1, -1), repeat=3):
        grid = turned(noise(OBLIQUE), (0, 1, 2), signs).grid
        np.testing.assert_allclose(grid.normal, grid.directions[:, 0], atol=1e-12)


@pytest.mark.parametrize(("size", "spacing"), [(16, 2.0), (33, 0.7), (64, 1.0)])
def test_the_model_grid_keeps_slices_directions_and_centre(size, spacing):
    grid = model_grid(OBLIQUE, size, spacing)
    assert grid.shape == (9, size, size)
    np.testing.assert_allclose(grid.spacing_mm, (3.0, spacing, spacing))
    np.testing.assert_allclose(grid.directions, OBLIQUE.directions, atol=1e-12)
    for place in (0, 8):
        np.testing.assert_allclose(
            grid.world((place, (size - 1) / 2, (size - 1) / 2)),
            OBLIQUE.world((place, 19.5, 24.5)),
            atol=1e-9,
        )


def test_grids_match_to_a_hundredth_of_a_micrometre_and_not_beyond():
    moved = OBLIQUE.affine.copy()
    moved[0, 3] += 2e-5
    assert not OBLIQUE.matches(Grid(moved, OBLIQUE.shape))
    assert OBLIQUE.matches(Grid(moved, OBLIQUE.shape), tolerance_mm=1e-4)
    assert not OBLIQUE.matches(Grid(OBLIQUE.affine, (8, 40, 50)), tolerance_mm=1.0)


def test_a_grid_is_frozen():
    with pytest.raises(ValueError, match="read-only"):
        OBLIQUE.affine[0, 0] = 2.0


@pytest.mark.parametrize(
    ("affine", "shape", "match"),
    [
        (np.eye(3), (1, 1, 1), "4 x 4"),
        (np.full((4, 4), np.nan), (1, 1, 1), "finite"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), (1, 1, 1), "0 0 0 1"),
        (np.diag([1.0, 1.0, 0.0, 1.0]), (1, 1, 1), "span no volume"),
        (np.eye(4), (1, 0, 1), "at least one voxel"),
        (np.eye(4), (4, 4), "three axes"),
    ],
)
def test_nonsense_is_no_grid(affine, shape, match):
    with pytest.raises(InputRejectedError, match=match):
        Grid(affine, shape)


def test_an_array_must_fit_its_grid():
    with pytest.raises(InputRejectedError, match="does not fit"):
        Volume(np.zeros((1, 2, 3)), OBLIQUE)


@pytest.mark.parametrize(("size", "spacing"), [(0, 1.0), (8, 0.0), (8, float("nan"))])
def test_a_model_grid_needs_size_and_spacing(size, spacing):
    with pytest.raises(InputRejectedError, match="above 0"):
        model_grid(OBLIQUE, size, spacing)
