import re

import numpy as np
import pytest
import SimpleITK
from dicom_study import CANARY, make_grid, write_series

from mrct_runtime.dicom import scan
from mrct_runtime.dicom.geometry import stacked
from mrct_runtime.errors import SeriesError

GRID = make_grid((8, 8, 10), (3.0, 1.0, 1.25), (12, -4, 2))


def only_group(folder):
    (group,) = scan(folder).groups
    return group


@pytest.mark.parametrize("angles", [(0, 0, 0), (18, 0, 0), (-7, 11, 30), (180, 0, 0), (0, 180, 0)])
def test_the_grid_is_the_one_that_was_written(tmp_path, angles):
    grid = make_grid((8, 8, 10), (3.0, 1.0, 1.25), angles)
    write_series(tmp_path, grid)
    _, found = stacked(only_group(tmp_path))
    # The stack runs along the normal, which for a turned patient is against the way it was written in.
    corners = [(0, 0, 0), (7, 0, 0), (0, 7, 9), (7, 7, 9)]
    if np.cross(grid.directions[:, 2], grid.directions[:, 1]) @ grid.directions[:, 0] < 0:
        expected = [grid.world((7 - s, r, c)) for s, r, c in corners]
    else:
        expected = grid.world(corners)
    np.testing.assert_allclose(found.world(corners), expected, atol=1e-5)


def test_real_geometry_agrees_with_simpleitk(shared_data):
    folder = next((shared_data / "prostatex_mr_dicom" / "ProstateX").rglob("4.*"))
    group = only_group(folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    _, grid = stacked(group)
    assert image.GetSize()[::-1] == grid.shape
    for index in [(0, 0, 0), (18, 383, 0), (18, 0, 383), (9, 200, 100)]:
        place = image.TransformIndexToPhysicalPoint([*index[::-1]])
        np.testing.assert_allclose(grid.world(index), place, atol=1e-4)


def test_one_missing_slice_is_refused_and_its_place_named(tmp_path):
    write_series(tmp_path, GRID, skip={3})
    x, y, z = GRID.world((3, 0, 0))
    with pytest.raises(SeriesError) as caught:
        stacked(only_group(tmp_path))
    assert f"1 slice is missing, at ({x:.1f}, {y:.1f}, {z:.1f}) mm" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_many_missing_slices_are_counted_and_the_first_ones_named(tmp_path):
    grid = make_grid((30, 8, 10))
    write_series(tmp_path, grid, skip={4, 5, 9, 14, 20, 24, 26})
    with pytest.raises(SeriesError, match="7 slices are missing") as caught:
        stacked(only_group(tmp_path))
    assert len(re.findall(r"\) mm", str(caught.value))) == 5
    assert "and 2 more" in str(caught.value)


@pytest.mark.parametrize(("jitter", "accepted"), [(0.01, True), (0.1, False)])
def test_positions_may_be_rounded_but_not_uneven(tmp_path, jitter, accepted):
    def shift(index, image):
        place = GRID.world((index + (jitter if index == 3 else 0), 0, 0))
        image.ImagePositionPatient = [f"{x:.6f}" for x in place]

    write_series(tmp_path, GRID, per_slice=shift)
    if accepted:
        assert stacked(only_group(tmp_path))[1].spacing_mm[0] == pytest.approx(3.0)
    else:
        with pytest.raises(SeriesError, match=r"varies from 2\.70 to 3\.30 mm"):
            stacked(only_group(tmp_path))


def test_two_images_at_one_place_are_refused(tmp_path):
    write_series(tmp_path, GRID)
    write_series(tmp_path / "again", GRID)
    with pytest.raises(SeriesError, match="8 of 16 images repeat a position"):
        stacked(only_group(tmp_path))


def test_a_sheared_stack_is_refused(tmp_path):
    def tilt(index, image):
        image.ImagePositionPatient = [f"{x:.6f}" for x in GRID.world((index, 0.2 * index, 0))]

    write_series(tmp_path, GRID, per_slice=tilt)
    with pytest.raises(SeriesError, match="gantry tilt"):
        stacked(only_group(tmp_path))


def test_one_slice_has_the_thickness_of_its_header(tmp_path):
    write_series(tmp_path, GRID, skip=set(range(1, 8)))
    assert stacked(only_group(tmp_path))[1].spacing_mm[0] == pytest.approx(3.0)
    write_series(tmp_path, GRID, skip=set(range(1, 8)), elements={"SliceThickness": None})
    with pytest.raises(SeriesError, match="no slice thickness"):
        stacked(only_group(tmp_path))


def test_real_faults_are_told_apart(shared_data):
    vendors = shared_data / "vendor_small_and_compressed_dicom"
    with pytest.raises(SeriesError, match="gantry tilt"):
        stacked(only_group(vendors / "failing" / "gantrytilting"))
    with pytest.raises(SeriesError, match="7 slices are missing"):
        stacked(only_group(shared_data / "pelvis_ct_umcu_dicom"))
    studies = shared_data / "prostatex_mr_dicom"
    with pytest.raises(SeriesError, match=r"1 slice is missing, at \(-45\.6, -100\.3, 20\.0\) mm"):
        stacked(only_group(studies / "ProstateX-missing-slice"))
    _, jittered = stacked(only_group(shared_data / "ge_fse_pd_axial_dicom"))
    assert jittered.spacing_mm[0] == pytest.approx(7.0, abs=0.05)
