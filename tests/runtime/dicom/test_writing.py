import warnings
from dataclasses import replace
from datetime import timedelta

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import (
    CANARY,
    FRAME_UID,
    STUDY_UID,
    make_grid,
    run_program,
    validation_errors,
    write_series,
)
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from mrct_runtime.dicom import Derivation, read_pair, read_study, write_ct_series
from mrct_runtime.errors import InputRejectedError, NumericError, OutputError
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)
GRID = make_grid((8, 12, 16), (3.0, 1.0, 1.25), (12, -4, 2))


def hu_on(series, low=-1200.0, high=3300.0):
    shape = series.volume.grid.shape
    hu = np.random.default_rng(3).uniform(low, high, shape).astype(np.float32)
    return Volume(hu, series.volume.grid)


@pytest.fixture(params=["straight", "oblique", "feet first"])
def written(request, tmp_path):
    angles = {"straight": (0, 0, 0), "oblique": (18, -7, 3), "feet first": (0, 180, 0)}
    grid = make_grid((8, 12, 16), (3.0, 1.0, 1.25), angles[request.param])
    write_series(tmp_path / "mr", grid)
    return _written(read_study(tmp_path / "mr"), tmp_path)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    series = read_study(shared_data / "prostatex_mr_dicom" / "ProstateX")
    return _written(series, tmp_path_factory.mktemp("real"))


def _written(source, folder):
    hu = hu_on(source)
    (folder / "sct").mkdir()
    result = write_ct_series(hu, source, folder / "sct", DERIVATION)
    return source, hu, result, folder / "sct"


def test_one_file_a_slice_holds_whole_hu_and_says_how_many_were_clipped(written):
    source, hu, result, _ = written
    assert [path.name for path in result.files] == [f"CT.{i:04d}.dcm" for i in range(1, 9)]
    expected = np.clip(np.rint(hu.array), -1024, 3071)
    for path, header, pixels in zip(result.files, source.headers, expected, strict=True):
        image = dcmread(path)
        np.testing.assert_array_equal(image.pixel_array, pixels)
        assert image.pixel_array.dtype == np.int16
        assert (image.RescaleSlope, image.RescaleIntercept, image.RescaleType) == (1, 0, "HU")
        assert image.ImagePositionPatient == header.ImagePositionPatient
    assert result.clipped == np.count_nonzero(
        (np.rint(hu.array) < -1024) | (np.rint(hu.array) > 3071)
    )


def test_what_belongs_to_patient_study_and_room_is_the_source_s(written):
    source, _, result, _ = written
    for path, header in zip(result.files, source.headers, strict=True):
        image = dcmread(path, stop_before_pixels=True)
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "FrameOfReferenceUID",
            "PatientPosition",
            "BodyPartExamined",
        ):
            assert image[keyword] == header[keyword], keyword
    assert (source.headers[0].StudyInstanceUID, FRAME_UID) == (STUDY_UID, image.FrameOfReferenceUID)


def test_what_is_new_says_that_it_is_synthetic_and_from_what(written):
    source, _, result, _ = written
    images = [dcmread(path, stop_before_pixels=True) for path in result.files]
    first = images[0]
    assert first.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (first.SOPClassUID, first.Modality) == (CTImageStorage, "CT")
    assert list(first.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert first.SyntheticData == "YES"
    assert first.SeriesDescription == "SYNTHETIC CT - RESEARCH USE ONLY"
    assert first.SeriesNumber == 401
    assert (first.Manufacturer, first.ManufacturerModelName) == ("mrct", "mrct")
    assert first.DerivationDescription == DERIVATION.description
    code = first.DerivationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("MR2SCT", "99MRCT")
    scanner, program = first.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("ACME", "Magnetron")
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert program.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert program.SoftwareVersions == ["mrct 1.2.3", "pelvis", "sha256 " + "ab" * 8]
    for index, (image, header) in enumerate(zip(images, source.headers, strict=True)):
        assert image.InstanceNumber == index + 1
        origin = image.SourceImageSequence[0]
        assert origin.ReferencedSOPClassUID == MRImageStorage
        assert origin.ReferencedSOPInstanceUID == header.SOPInstanceUID
        assert origin.SpatialLocationsPreserved == "YES"
        assert origin.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        series = image.ReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == source.uid
        named = series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
        assert named == header.SOPInstanceUID
    old = {header.SOPInstanceUID for header in source.headers} | {source.uid}
    new = {image.SOPInstanceUID for image in images} | {first.SeriesInstanceUID}
    assert len(new) == 9
    assert not new & old
    assert all(uid.startswith("2.25.") for uid in new)
    assert result.series_uid == first.SeriesInstanceUID
    assert list(result.sop_instance_uids) == [image.SOPInstanceUID for image in images]


def test_nothing_of_the_mr_acquisition_is_claimed(written):
    _, _, result, _ = written
    image = dcmread(result.files[0], stop_before_pixels=True)
    for keyword in ("EchoTime", "RepetitionTime", "ScanningSequence", "InstitutionName"):
        assert keyword not in image
    for keyword in ("KVP", "AcquisitionNumber"):
        assert image[keyword].value is None
    assert not any(element.tag.is_private for element in image.iterall())


def test_the_same_result_has_the_same_uids_and_another_one_others(written, tmp_path):
    source, hu, result, _ = written
    (tmp_path / "again").mkdir()
    later = replace(DERIVATION, made_at=DERIVATION.made_at + timedelta(days=1))
    again = write_ct_series(hu, source, tmp_path / "again", later)
    assert (again.series_uid, again.sop_instance_uids) == (
        result.series_uid,
        result.sop_instance_uids,
    )
    hu.array[3, 4, 5] += 1
    other = write_ct_series(hu, source, tmp_path / "again", later)
    assert other.series_uid != result.series_uid
    assert not set(other.sop_instance_uids) & set(result.sop_instance_uids)


def test_the_result_reads_back_as_a_series_on_the_grid_of_the_mr(written, tmp_path):
    source, hu, _, folder = written
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    grid = source.volume.grid
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(image), np.clip(np.rint(hu.array), -1024, 3071)
    )
    for index in [(0, 0, 0), (7, 0, 15), (7, 11, 0)]:
        place = image.TransformIndexToPhysicalPoint([*index[::-1]])
        np.testing.assert_allclose(place, grid.world(index), atol=1e-4)


def test_real_geometry_is_copied_digit_by_digit(real):
    source, _, result, _ = real
    assert len(result.files) == 19
    for path, header in zip(result.files, source.headers, strict=True):
        image = dcmread(path, stop_before_pixels=True)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            written = [value.original_string for value in image[keyword].value]
            assert written == [value.original_string for value in header[keyword].value]
    assert b"2.003351e-010" in result.files[0].read_bytes()


def test_dciodvfy_finds_no_error(written):
    _, _, result, _ = written
    for path in (result.files[0], result.files[-1]):
        report = run_program("dciodvfy", path)
        assert "CTImage" in report
        assert validation_errors(report) == []


def test_dciodvfy_finds_no_error_in_a_real_study(real):
    _, _, result, _ = real
    for path in result.files:
        report = run_program("dciodvfy", path)
        assert "CTImage" in report
        assert validation_errors(report) == []


@pytest.mark.parametrize("bundle", ["pelvis", "pelvis2"])
def test_the_files_are_read_back_without_a_warning(written, bundle, tmp_path):
    source, hu, _, _ = written
    result = write_ct_series(hu, source, tmp_path, replace(DERIVATION, bundle=bundle))
    for path in result.files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = dcmread(path)
            assert len(list(image.iterall())) > 50


def test_dcentvfy_finds_source_and_result_to_be_one_study(written):
    _, _, result, folder = written
    sources = sorted((folder.parent / "mr").iterdir())
    assert "Error" not in run_program("dcentvfy", *result.files, *sources)


def test_dcm2niix_converts_the_result_onto_the_grid_of_the_mr(real, tmp_path):
    source, hu, _, folder = real
    run_program("dcm2niix", "-z", "n", "-f", "sct", "-o", tmp_path, folder)
    image = nibabel.load(tmp_path / "sct.nii")
    assert image.shape == source.volume.grid.shape[::-1]
    # dcm2niix may flip rows; the place in the patient tells which voxel is which.
    to_index = np.linalg.inv(image.affine)
    array = np.asarray(image.dataobj)
    for index in [(0, 0, 0), (18, 380, 5), (9, 100, 300)]:
        ras = source.volume.grid.world(index) * (-1, -1, 1)
        place = nibabel.affines.apply_affine(to_index, ras)
        np.testing.assert_allclose(place, np.rint(place), atol=2e-3)
        expected = np.clip(np.rint(hu.array[index]), -1024, 3071)
        assert array[tuple(np.rint(place).astype(int))] == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_written(tmp_path, value):
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    hu = hu_on(source)
    hu.array[5, 2, 2:4] = value
    with pytest.raises(NumericError, match="2 voxels that are not numbers, first in slice 6"):
        write_ct_series(hu, source, tmp_path, DERIVATION)
    assert not list(tmp_path.glob("*.dcm"))


def test_a_result_off_the_grid_is_refused(tmp_path):
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    other = make_grid((8, 12, 16))
    with pytest.raises(InputRejectedError, match="resample it to the MR's grid first"):
        write_ct_series(Volume(np.zeros(other.shape), other), source, tmp_path, DERIVATION)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    with pytest.raises(OutputError, match=r"CT\.0001\.dcm: cannot be written"):
        write_ct_series(hu_on(source), source, tmp_path / "absent", DERIVATION)


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientBirthDate": None, "StudyID": None, "ReferringPhysicianName": None},
        {"SliceThickness": None, "Manufacturer": None, "ManufacturerModelName": None},
        {"FrameOfReferenceUID": None, "SeriesNumber": None, "BodyPartExamined": None},
        {"PatientPosition": None, "BodyPartExamined": ""},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Größe^Zoë=山田"},
        {"TimezoneOffsetFromUTC": "+0100", "PatientPosition": "FFS"},
        {"SliceThickness": ["3", "4"]},
    ],
    ids=[
        "no study values",
        "no equipment",
        "no frame",
        "no body part",
        "unicode",
        "time zone",
        "two thicknesses",
    ],
)
def test_poor_headers_give_valid_files_all_the_same(tmp_path, elements):
    write_series(tmp_path / "mr", GRID, elements=elements)
    source = read_study(tmp_path / "mr")
    result = write_ct_series(hu_on(source), source, tmp_path, DERIVATION)
    image = dcmread(result.files[0])
    assert image.PatientName == source.headers[0].PatientName
    assert image.FrameOfReferenceUID == source.frame_of_reference_uid
    assert float(image.SliceThickness) == 3.0
    assert validation_errors(run_program("dciodvfy", result.files[0])) == []


def test_values_that_break_the_rules_are_passed_on_untouched(tmp_path):
    def damage(index, image):
        image["PatientBirthDate"]._value = "01012000"
        image["PatientID"]._value = CANARY * 12

    write_series(tmp_path / "mr", GRID, per_slice=damage)
    source = read_study(tmp_path / "mr")
    result = write_ct_series(hu_on(source), source, tmp_path, DERIVATION)
    content = result.files[0].read_bytes()
    assert b"01012000" in content
    assert (CANARY * 12).encode() in content


def test_the_result_is_no_training_target(tmp_path):
    write_series(tmp_path / "mr", GRID)
    write_series(tmp_path / "ct", GRID, modality="CT", number=7)
    source, true_ct = read_pair(tmp_path)
    (tmp_path / "sct").mkdir()
    write_ct_series(hu_on(source), source, tmp_path / "sct", DERIVATION)
    assert read_pair(tmp_path)[1].uid == true_ct.uid
