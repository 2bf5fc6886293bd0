from dataclasses import replace

import numpy as np
import pytest
from dicom_study import CANARY, make_grid, write_series

from mrct_runtime.dicom import read_study
from mrct_runtime.dicom.reference import read_reference
from mrct_runtime.errors import InputRejectedError, SeriesError
from mrct_runtime.volume import Volume
from mrct_runtime.volume_files import WRITERS

GRID = make_grid((6, 20, 24), (3.0, 2.0, 2.0), angles=(5, 0, 0))


@pytest.fixture
def mr(tmp_path):
    write_series(tmp_path / "mr", GRID)
    return read_study(tmp_path / "mr")


def ramp(grid):
    """HU that rise by 4 a mm along the patient's x, plus 1024 [S, H, W]."""
    x = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 0]
    return np.rint(4 * x + 1024).astype(np.uint16)


def write_ct(folder, grid, **changes):
    return write_series(folder, grid, ramp(grid), modality="CT", description="ct", **changes)


def test_a_ct_on_the_mrs_grid_comes_back_voxel_by_voxel(mr, tmp_path):
    write_ct(tmp_path / "ct", GRID)
    found = read_reference(tmp_path / "ct", mr)
    assert np.array_equal(found.hu, ramp(GRID).astype(float) - 1024)
    assert found.shown.all()
    assert not found.resampled


def test_a_ct_in_the_frame_of_reference_is_resampled_to_the_mrs_grid(mr, tmp_path):
    finer = make_grid((12, 50, 50), (2.0, 1.2, 1.2), origin=(-24, 0, -46))
    write_ct(tmp_path / "ct", finer)
    found = read_reference(tmp_path / "ct", mr)
    assert found.resampled
    expected = ramp(GRID).astype(float) - 1024
    shown = found.shown
    assert shown.mean() > 0.5
    inner = shown & (Volume(np.ones(finer.shape), finer).resample(GRID, fill=0).array > 0.999)
    assert np.abs(found.hu - expected)[inner].max() < 4


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_ct_in_a_file_lies_where_the_file_says(ending, mr, tmp_path):
    hu = ramp(GRID).astype(np.float32) - 1024
    WRITERS[ending](Volume(hu, GRID), tmp_path / f"ct{ending}", "")
    found = read_reference(tmp_path / f"ct{ending}", mr)
    assert np.array_equal(found.hu, hu)
    assert not found.resampled
    assert found.doubts == ("the reference is a volume's file, which does not say whose CT it is",)


def test_a_ct_of_another_patient_id_is_doubted(mr, tmp_path):
    write_ct(tmp_path / "same", GRID)
    assert not read_reference(tmp_path / "same", mr).doubts
    write_ct(tmp_path / "other", GRID, elements={"PatientID": "another"})
    (doubt,) = read_reference(tmp_path / "other", mr).doubts
    assert doubt.startswith("the reference CT has another PatientID")
    assert "another " in doubt
    assert CANARY not in doubt


def test_no_frame_of_reference_is_not_one_that_is_shared(mr, tmp_path):
    elsewhere = make_grid((6, 20, 24), (3.0, 2.0, 2.0), origin=(500, 0, 0))
    write_ct(tmp_path / "ct", elsewhere, elements={"FrameOfReferenceUID": ""})
    with pytest.raises(SeriesError, match="shares the MR's frame of reference"):
        read_reference(tmp_path / "ct", replace(mr, frame_of_reference_uid="", headers=()))


def test_what_the_ct_does_not_show_is_not_shown(mr, tmp_path):
    half = make_grid((3, 20, 24), (3.0, 2.0, 2.0), angles=(5, 0, 0))
    write_ct(tmp_path / "ct", half)
    found = read_reference(tmp_path / "ct", mr)
    assert found.shown[:3].all()
    assert not found.shown[4:].any()


def test_a_ct_of_another_frame_serves_where_it_lies_on_the_grid(mr, tmp_path):
    write_ct(tmp_path / "ct", GRID, elements={"FrameOfReferenceUID": "1.2.3"})
    assert not read_reference(tmp_path / "ct", mr).resampled


def test_a_ct_of_another_frame_elsewhere_is_refused(mr, tmp_path):
    other = make_grid((6, 20, 24), (3.0, 2.0, 2.0), origin=(0, 0, 0))
    write_ct(tmp_path / "ct", other, elements={"FrameOfReferenceUID": "1.2.3"})
    with pytest.raises(SeriesError, match="register the CT to the MR first") as caught:
        read_reference(tmp_path / "ct", mr)
    assert caught.value.exit_code == 4


def test_a_synthetic_ct_is_no_true_one(mr, tmp_path):
    write_ct(tmp_path / "ct", GRID, elements={"SyntheticData": "YES"})
    with pytest.raises(InputRejectedError, match="no true CT series"):
        read_reference(tmp_path / "ct", mr)


def test_a_folder_without_a_ct_is_told_without_names(mr, tmp_path):
    with pytest.raises(InputRejectedError, match=r"no true CT series .*\(MR\)") as caught:
        read_reference(tmp_path / "mr", mr)
    assert CANARY not in str(caught.value)


def test_of_several_that_fit_none_is_guessed(mr, tmp_path):
    for number in (7, 8):
        write_ct(tmp_path / "ct", GRID, number=number)
    with pytest.raises(SeriesError, match="2 CT series of the reference fit"):
        read_reference(tmp_path / "ct", mr)


def test_a_damaged_image_of_the_ct_is_refused(mr, tmp_path):
    paths = write_ct(tmp_path / "ct", GRID)
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    with pytest.raises(InputRejectedError):
        read_reference(tmp_path / "ct", mr)
