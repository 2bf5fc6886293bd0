import logging
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime

import highdicom
import numpy as np
import pytest
from dicom_study import CANARY, make_grid, run_program, validation_errors, write_series
from pydicom import dcmread
from pydicom.uid import ParametricMapStorage

from mrct_runtime.dicom import Derivation, read_study, write_parametric_map
from mrct_runtime.errors import InputRejectedError, NumericError, OutputError
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)
GRID = make_grid((8, 12, 16), (3.0, 1.0, 1.25), (12, -4, 2))


def std_on(series):
    shape = series.volume.grid.shape
    values = np.random.default_rng(3).gamma(2.0, 20.0, shape).astype(np.float32)
    return Volume(values, series.volume.grid)


@pytest.fixture(params=[(0, 0, 0), (18, -7, 3), (0, 180, 0)], ids=["straight", "oblique", "turned"])
def written(request, tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 12, 16), (3.0, 1.0, 1.25), request.param))
    source = read_study(tmp_path / "mr")
    std = std_on(source)
    uid = write_parametric_map(std, source, tmp_path / "std.dcm", DERIVATION)
    return source, std, uid, tmp_path / "std.dcm"


def test_highdicom_finds_the_same_float_at_the_same_place(written):
    _, std, _, path = written
    volume = highdicom.imread(path).get_volume(apply_real_world_transform=True)
    for index in [(0, 0, 0), (7, 11, 15), (3, 5, 9), (7, 0, 0)]:
        place = std.grid.world(index)
        found = np.linalg.inv(volume.affine) @ (*place, 1.0)
        np.testing.assert_allclose(found[:3], np.rint(found[:3]), atol=1e-4)
        assert volume.array[tuple(np.rint(found[:3]).astype(int))] == std.array[index]


def test_values_are_hu_and_the_object_says_what_it_is(written):
    source, std, uid, path = written
    image = dcmread(path)
    assert (image.SOPClassUID, image.SOPInstanceUID) == (ParametricMapStorage, uid)
    assert image.Modality != "CT"
    assert image.ContentQualification == "RESEARCH"
    assert "RESEARCH USE ONLY" in image.SeriesDescription
    assert image.SeriesNumber == 402
    assert image.SyntheticData == "YES"
    shared = image.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert "FloatPixelData" in image
    assert image.NumberOfFrames == len(source.headers)
    assert image.pixel_array.max() == std.array.max()
    program = image.ContributingEquipmentSequence[1]
    assert program.SoftwareVersions == ["mrct 1.2.3", "pelvis", "sha256 " + "ab" * 8]


def test_it_belongs_to_the_patient_study_and_frame_of_the_mr(written):
    source, _, _, path = written
    image = dcmread(path)
    for keyword in (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "StudyDate",
        "AccessionNumber",
        "FrameOfReferenceUID",
        "BodyPartExamined",
    ):
        assert image[keyword] == source.headers[0][keyword], keyword
    referenced = {
        (item.ReferencedSOPInstanceUID, item.SpatialLocationsPreserved)
        for frame in image.PerFrameFunctionalGroupsSequence
        for item in frame.DerivationImageSequence[0].SourceImageSequence
    }
    assert referenced == {(header.SOPInstanceUID, "YES") for header in source.headers}


def test_dciodvfy_finds_no_error(written):
    _, _, _, path = written
    report = run_program("dciodvfy", path)
    assert "ParametricMap" in report
    assert validation_errors(report) == []


@pytest.mark.parametrize("bundle", ["pelvis", "pelvis2"])
def test_the_map_is_read_back_without_a_warning(written, bundle):
    source, std, _, path = written
    write_parametric_map(std, source, path, replace(DERIVATION, bundle=bundle))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(dcmread(path).iterall())) > 50


def test_it_is_dated_by_the_clock_of_the_source(tmp_path):
    made_at = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)
    derivation = Derivation(
        "1.2.3", "pelvis", "ab" * 32, "em", mc=(10, 10), seed=7, made_at=made_at
    )
    write_series(tmp_path / "mr", GRID, elements={"TimezoneOffsetFromUTC": "+0100"})
    source = read_study(tmp_path / "mr")
    write_parametric_map(std_on(source), source, tmp_path / "std.dcm", derivation)
    image = dcmread(tmp_path / "std.dcm")
    for event in ("InstanceCreation", "Series", "Content"):
        assert image[f"{event}Date"].value == "20260305", event
        assert float(image[f"{event}Time"].value) == 3000, event
    assert image.TimezoneOffsetFromUTC == "+0100"


def test_the_same_map_made_at_the_same_time_has_the_same_bytes(tmp_path):
    derivation = replace(DERIVATION, made_at=datetime(2026, 3, 4, 23, 30, tzinfo=UTC))
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    for name in ("first.dcm", "again.dcm"):
        write_parametric_map(std_on(source), source, tmp_path / name, derivation)
    assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "again.dcm").read_bytes()


def test_no_library_complains_while_it_is_written(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pydicom"), "propagate", True)
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    write_parametric_map(std_on(source), source, tmp_path / "std.dcm", DERIVATION)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert dcmread(tmp_path / "std.dcm").SoftwareVersions == DERIVATION.software_versions


def test_a_real_study_gives_a_valid_map(shared_data, tmp_path):
    source = read_study(shared_data / "prostatex_mr_dicom" / "ProstateX")
    write_parametric_map(std_on(source), source, tmp_path / "std.dcm", DERIVATION)
    report = run_program("dciodvfy", tmp_path / "std.dcm")
    assert validation_errors(report) == []
    run_program("dcm2niix", "-z", "n", "-f", "std", "-o", tmp_path, tmp_path / "std.dcm")
    assert (tmp_path / "std.nii").stat().st_size > 19 * 384 * 384 * 4


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientBirthDate": None, "StudyID": None, "AccessionNumber": None},
        {"FrameOfReferenceUID": None, "SliceThickness": None, "Manufacturer": None},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Größe^Zoë=山田"},
        {"PatientName": "one word only", "ReferringPhysicianName": "x" * 60},
        {"SliceThickness": ["3", "4"]},
    ],
    ids=["no study values", "no frame", "unicode", "odd names", "two thicknesses"],
)
def test_poor_headers_are_no_obstacle_and_raise_no_warning(tmp_path, elements, recwarn):
    write_series(tmp_path / "mr", GRID, elements=elements)
    source = read_study(tmp_path / "mr")
    write_parametric_map(std_on(source), source, tmp_path / "std.dcm", DERIVATION)
    assert dcmread(tmp_path / "std.dcm").PatientName == source.headers[0].PatientName
    assert not [w for w in recwarn if CANARY in str(w.message)]


def test_what_is_no_deviation_is_refused(tmp_path):
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    std = std_on(source)
    for value, match in [(np.nan, "standard deviation holds 1 voxels"), (-0.5, "below 0")]:
        std.array[1, 2, 3] = value
        with pytest.raises(NumericError, match=match):
            write_parametric_map(std, source, tmp_path / "std.dcm", DERIVATION)
    other = make_grid((8, 12, 16))
    with pytest.raises(InputRejectedError, match="resample it"):
        write_parametric_map(
            Volume(np.zeros(other.shape), other), source, tmp_path / "std.dcm", DERIVATION
        )
    assert not (tmp_path / "std.dcm").exists()


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    write_series(tmp_path / "mr", GRID)
    source = read_study(tmp_path / "mr")
    with pytest.raises(OutputError, match="cannot be written"):
        write_parametric_map(std_on(source), source, tmp_path / "absent" / "std.dcm", DERIVATION)


def test_reading_and_writing_a_ct_load_no_highdicom():
    code = "import sys, mrct_runtime.dicom; print('highdicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("part", "shown"), [("PELVIS", "NO"), ("HEAD", "YES"), (None, "YES")])
def test_it_is_told_that_a_face_may_be_seen(tmp_path, part, shown):
    write_series(tmp_path / "mr", GRID, elements={"BodyPartExamined": part})
    source = read_study(tmp_path / "mr")
    write_parametric_map(std_on(source), source, tmp_path / "std.dcm", DERIVATION)
    assert dcmread(tmp_path / "std.dcm").RecognizableVisualFeatures == shown
    assert validation_errors(run_program("dciodvfy", tmp_path / "std.dcm")) == []
