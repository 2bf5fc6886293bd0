import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid

from mrct_runtime.errors import InputRejectedError, OutputError
from mrct_runtime.nifti import read_nifti, write_nifti
from mrct_runtime.volume import Volume

GRIDS = [
    make_grid(),
    make_grid(angles=(18, -7, 3)),
    make_grid(spacing=(-3.0, 1.0, -1.25), angles=(0, 12, 0)),
]


@pytest.fixture(params=GRIDS, ids=["straight", "oblique", "flipped"])
def written(request, tmp_path):
    grid = request.param
    array = np.random.default_rng(0).normal(0, 500, grid.shape).astype(np.float32)
    write_nifti(Volume(array, grid), tmp_path / "ct.nii.gz")
    return Volume(array, grid), tmp_path / "ct.nii.gz"


def test_nibabel_finds_every_voxel_where_it_was(written):
    volume, path = written
    image = nibabel.load(path)
    index = np.argwhere(np.ones(volume.grid.shape))[::101]
    ras = nibabel.affines.apply_affine(image.affine, index[:, ::-1])
    np.testing.assert_allclose(ras * (-1, -1, 1), volume.grid.world(index), atol=1e-4)
    np.testing.assert_array_equal(image.get_fdata().transpose(2, 1, 0), volume.array)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert image.header.get_xyzt_units()[0] == "mm"


def test_simpleitk_finds_every_voxel_where_it_was(written):
    volume, path = written
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.array)
    for index in np.argwhere(np.ones(volume.grid.shape))[::997]:
        place = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        np.testing.assert_allclose(place, volume.grid.world(index), atol=1e-4)


def test_masks_are_written_as_bytes(tmp_path):
    mask = np.zeros(GRIDS[0].shape, bool)
    mask[2, 3, 4] = True
    write_nifti(Volume(mask, GRIDS[0]), tmp_path / "mask.nii.gz")
    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert np.argwhere(np.asarray(image.dataobj)).tolist() == [[4, 3, 2]]


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    volume = Volume(np.ones(GRIDS[0].shape, np.float32), GRIDS[0])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_nifti(volume, tmp_path / name / "ct.nii.gz")
    assert (tmp_path / "a/ct.nii.gz").read_bytes() == (tmp_path / "b/ct.nii.gz").read_bytes()


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    volume = Volume(np.ones(GRIDS[0].shape, np.float32), GRIDS[0])
    with pytest.raises(OutputError, match="cannot be written"):
        write_nifti(volume, tmp_path / "absent" / "ct.nii.gz")


def test_what_is_written_is_read_back(written):
    volume, path = written
    read = read_nifti(path)
    np.testing.assert_array_equal(read.array, volume.array)
    assert read.array.dtype == np.float32
    assert read.grid.matches(volume.grid, tolerance_mm=1e-4)


def test_a_fourth_axis_of_one_image_is_none(written):
    volume, path = written
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[..., None], image.affine), path)
    np.testing.assert_array_equal(read_nifti(path).array, volume.array)


@pytest.mark.parametrize(
    ("shape", "units", "told"),
    [
        ((4, 5), "mm", r"has the shape \(4, 5\); one volume is needed"),
        ((4, 5, 6, 2), "mm", "one volume is needed"),
        ((4, 5, 6), "meter", "is measured in meter; millimetres are needed"),
    ],
)
def test_what_is_no_volume_in_millimetres_is_refused(shape, units, told, tmp_path):
    image = nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
    image.header.set_xyzt_units(units)
    nibabel.save(image, tmp_path / "mr.nii")
    with pytest.raises(InputRejectedError, match=told):
        read_nifti(tmp_path / "mr.nii")


@pytest.mark.parametrize("kept", [0, 10, 200, 400])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_cut_file_is_refused_by_name(kept, ending, tmp_path):
    path = tmp_path / f"mr{ending}"
    image = np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputRejectedError, match=r"mr.nii.* cannot be read as NIfTI"):
        read_nifti(path)
