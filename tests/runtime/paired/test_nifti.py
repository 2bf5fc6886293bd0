import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_study import make_grid
from paired_sets import GRID, head, write_synthrad, write_volume

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.paired.nifti import READERS, find
from mrct_runtime.volume import Grid, Volume


def read(folder):
    (subject,) = find(folder)
    (pair,) = subject.read()
    return pair


@pytest.mark.parametrize("ending", READERS)
def test_every_kind_of_file_gives_the_same_pair(ending, tmp_path):
    write_synthrad(tmp_path / "A", ending)
    pair = read(tmp_path)
    mr, ct, body = head()
    np.testing.assert_array_equal(pair.mr.array, mr.array)
    np.testing.assert_array_equal(pair.ct.array, ct.array)
    np.testing.assert_array_equal(pair.mask, body)
    assert pair.mr.grid.matches(GRID, tolerance_mm=1e-4)


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "PIR", "SAL", "ARI"])
@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_axes_in_any_order_become_axial_slices_from_the_feet_up(ending, code, tmp_path):
    write_synthrad(tmp_path / "A", mask=None)
    for name in ("mr", "ct"):
        image = sitk.ReadImage(str(tmp_path / "A" / f"{name}.nii.gz"))
        sitk.WriteImage(sitk.DICOMOrient(image, code), str(tmp_path / code / f"{name}{ending}"))
    pair = find(tmp_path / code)[0].read()[0]
    mr, ct, _ = head()
    np.testing.assert_array_equal(pair.mr.array, mr.array)
    np.testing.assert_array_equal(pair.ct.array, ct.array)
    assert pair.mr.grid.matches(GRID, tolerance_mm=1e-3)


@pytest.fixture(autouse=True)
def folders(tmp_path, request):
    """SimpleITK does not make the folder that it writes to."""
    if "code" in request.fixturenames:
        (tmp_path / request.getfixturevalue("code")).mkdir()


def test_positions_are_those_that_simpleitk_reads(tmp_path):
    grid = make_grid((4, 20, 24), (4.0, 1.5, 1.25), angles=(8, -5, 12))
    write_synthrad(tmp_path / "A", mr=head(grid)[0], ct=head(grid)[1], mask=None)
    pair = read(tmp_path)
    image = sitk.ReadImage(str(tmp_path / "A" / "mr.nii.gz"))
    for index in ((0, 0, 0), (3, 19, 23), (1, 5, 7)):
        expected = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(pair.mr.grid.world(index), expected, atol=1e-4)


def test_anisotropic_volumes_stay_on_their_grid(tmp_path):
    grid = make_grid((3, 30, 40), (7.0, 1.0, 1.5))
    write_synthrad(tmp_path / "A", mr=head(grid)[0], ct=head(grid)[1], mask=None)
    assert read(tmp_path).mr.grid.matches(grid, tolerance_mm=1e-4)


def test_values_are_scaled_as_the_header_says(tmp_path):
    folder = write_synthrad(tmp_path / "A", ct=None)
    hu = 2 * head()[0].array - 1024.5
    affine = nibabel.load(folder / "mr.nii.gz").affine
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine)
    image.set_data_dtype(np.int16)
    nibabel.save(image, folder / "ct.nii.gz")
    assert nibabel.load(folder / "ct.nii.gz").dataobj.slope != 1
    np.testing.assert_allclose(read(tmp_path).ct.array, hu, atol=0.02)


def test_subjects_lie_at_any_depth_and_are_called_by_their_folder(tmp_path):
    write_synthrad(tmp_path / "Task1" / "brain" / "1BA001")
    write_synthrad(tmp_path / "Task1" / "pelvis" / "1PA001")
    names = [subject.name for subject in find(tmp_path)]
    assert names == ["Task1/brain/1BA001", "Task1/pelvis/1PA001"]
    assert find(tmp_path / "Task1" / "brain" / "1BA001")[0].name == "1BA001"


def test_the_voxels_beside_a_header_are_among_the_files(tmp_path):
    write_synthrad(tmp_path / "A", ".mhd")
    names = sorted(path.name for path in find(tmp_path)[0].files)
    assert names == ["ct.mhd", "ct.raw", "mask.mhd", "mask.raw", "mr.mhd", "mr.raw"]


@pytest.mark.parametrize("lost", ["mr", "ct"])
def test_a_subject_with_one_of_the_two_is_found_and_refused(lost, tmp_path):
    write_synthrad(tmp_path / "A", **{lost: None})
    with pytest.raises(
        InputRejectedError, match=rf"lacks the {lost.upper()}, a file {lost}\{{.nii.gz,"
    ):
        read(tmp_path)


def test_two_files_of_one_kind_are_refused(tmp_path):
    write_synthrad(tmp_path / "A")
    write_synthrad(tmp_path / "A", ".mha")
    with pytest.raises(InputRejectedError, match=r"has mr.mha and mr.nii.gz; leave one of them"):
        read(tmp_path)


def moved(volume, mm):
    affine = volume.grid.affine.copy()
    affine[2, 3] += mm
    return Volume(volume.array, Grid(affine, volume.grid.shape))


def test_differing_grids_are_refused_and_rounding_is_not(tmp_path):
    mr, ct, body = head()
    write_synthrad(tmp_path / "A", ct=moved(ct, 0.004))
    read(tmp_path)
    write_synthrad(tmp_path / "A", ct=moved(ct, 3.0))
    with pytest.raises(
        InputRejectedError, match="on different grids, voxels up to 3 mm apart; resample"
    ):
        read(tmp_path)
    smaller = head(make_grid((5, 30, 30), (3.0, 2.0, 2.0)))[1]
    write_synthrad(tmp_path / "A", ct=smaller)
    with pytest.raises(InputRejectedError, match=r"5 slices of 36 x 30.*5 slices of 30 x 30"):
        read(tmp_path)
    write_synthrad(tmp_path / "A", mask=moved(Volume(body, mr.grid), 3.0))
    with pytest.raises(InputRejectedError, match=r"the mask .* does not lie on the MR's grid"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("mr", np.nan), ("ct", np.inf)])
def test_not_a_number_in_a_slice_is_told_with_the_slice(name, value, tmp_path):
    volume = dict(zip(("mr", "ct"), head()[:2], strict=True))[name]
    array = volume.array.copy()
    array[3, 2, 1] = value
    write_synthrad(tmp_path / "A", **{name: Volume(array, GRID)})
    told = (
        f"axial {name.upper()} holds NaN or infinite values in 1 of 5 slices, the first is slice 4"
    )
    with pytest.raises(InputRejectedError, match=told):
        read(tmp_path)


def test_an_empty_mask_is_told(tmp_path):
    write_synthrad(tmp_path / "A", mask=Volume(np.zeros(GRID.shape, bool), GRID))
    with pytest.raises(InputRejectedError, match="body mask is empty"):
        read(tmp_path)


def test_the_layout_holds_nothing_else(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "ct.png").touch()
    (tmp_path / "A" / "sct.nii.gz").touch()
    write_volume(tmp_path / "A" / "mask.nii.gz", Volume(head()[2], GRID))
    assert find(tmp_path) == []
