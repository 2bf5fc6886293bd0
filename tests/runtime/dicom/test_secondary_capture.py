import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import make_grid, run_program, validation_errors, write_series
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from mrct_runtime.dicom import Derivation, read_study
from mrct_runtime.dicom.secondary_capture import patient_orientation, tenths, write_maps
from mrct_runtime.errors import InputRejectedError
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)


@pytest.fixture(params=[(0, 0, 0), (18, -7, 3), (0, 180, 0)], ids=["straight", "oblique", "turned"])
def written(request, tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 12, 16), (3.0, 1.0, 1.25), request.param))
    source = read_study(tmp_path / "mr")
    values = np.random.default_rng(3).gamma(2.0, 60.0, source.volume.grid.shape)
    std = Volume(values.astype(np.float32), source.volume.grid)
    (tmp_path / "std").mkdir()
    return source, std, write_maps(std, source, tmp_path / "std", DERIVATION)


def test_it_is_no_ct_and_says_what_its_numbers_are(written):
    source, std, files = written
    assert [path.name for path in files] == [f"STD.{n:04d}.dcm" for n in range(1, 9)]
    for place, path in enumerate(files):
        image = dcmread(path)
        assert (image.SOPClassUID, image.Modality) == (SecondaryCaptureImageStorage, "OT")
        assert image.RescaleType == "US"
        assert "RESEARCH USE ONLY" in image.SeriesDescription
        assert "in HU: stored value x 0.1" in image.ImageComments
        mapping = image.RealWorldValueMappingSequence[0]
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
        real = image.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
        assert np.abs(real - std.array[place]).max() <= 0.0501
        assert image.FrameOfReferenceUID == source.frame_of_reference_uid
        made_from = image.SourceImageSequence[0]
        assert made_from.ReferencedSOPInstanceUID == source.headers[place].SOPInstanceUID


def test_dciodvfy_finds_no_error(written):
    for path in written[2]:
        report = run_program("dciodvfy", path)
        assert "SCImage" in report
        assert validation_errors(report) == []


def test_simpleitk_and_dcm2niix_find_the_same_deviation_at_the_same_place(written, tmp_path):
    _, std, files = written
    folder = str(files[0].parent)
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder))
    found = SimpleITK.GetArrayFromImage(image)
    run_program("dcm2niix", "-z", "n", "-f", "std", "-o", tmp_path, folder)
    nifti = nibabel.load(tmp_path / "std.nii")
    values, to_index = nifti.get_fdata(), np.linalg.inv(nifti.affine)
    for index in [(0, 0, 0), (7, 0, 15), (7, 11, 0), (3, 5, 9)]:
        place, expected = std.grid.world(index), std.array[index]
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint([*index[::-1]]), place, atol=1e-4
        )
        assert found[index] == pytest.approx(expected, abs=0.06)
        # it keeps the affine in single precision
        own = nibabel.affines.apply_affine(to_index, place * (-1, -1, 1))
        np.testing.assert_allclose(own, np.rint(own), atol=1e-3)
        assert values[tuple(np.rint(own).astype(int))] == pytest.approx(expected, abs=0.06)


def test_more_than_16_bits_hold_is_held_and_a_half_is_rounded():
    values = np.asarray([0.0, 0.04, 0.06, 6553.5, 1e6], np.float32)
    assert tenths(values).tolist() == [0, 0, 1, 65535, 65535]


@pytest.mark.parametrize(
    ("angles", "letters"),
    [
        ((0, 0, 0), ["L", "P"]),
        ((0, 180, 0), ["R", "P"]),
        ((18, 0, 0), ["L", "PH"]),
        ((90, 0, 0), ["L", "H"]),
        ((0, 0, 30), ["LP", "PR"]),
    ],
)
def test_the_patient_orientation_follows_the_axes(angles, letters):
    assert patient_orientation(make_grid(angles=angles)) == letters


def test_a_map_off_the_grid_is_refused(written, tmp_path):
    other = make_grid((8, 12, 16), (3.0, 1.0, 1.0))
    with pytest.raises(InputRejectedError, match="resample it"):
        write_maps(Volume(np.zeros(other.shape), other), written[0], tmp_path, DERIVATION)
