import highdicom
import numpy as np
import pytest
from dicom_study import make_grid, run_program, validation_errors, write_series
from pydicom import dcmread
from pydicom.uid import CTImageStorage, SegmentationStorage

from mrct_runtime.dicom import Derivation, read_study, write_ct_series
from mrct_runtime.dicom.segmentation import write_segmentation
from mrct_runtime.errors import InputRejectedError, OutputError
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)


@pytest.fixture(params=[(0, 0, 0), (18, -7, 3), (0, 180, 0)], ids=["straight", "oblique", "turned"])
def written(request, tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 12, 16), (3.0, 1.0, 1.25), request.param))
    source = read_study(tmp_path / "mr")
    grid = source.volume.grid
    mask = np.random.default_rng(4).random(grid.shape) < 0.5
    mask[2] = False
    hu = Volume(np.where(mask, 40.0, -1000.0).astype(np.float32), grid)
    ct = write_ct_series(hu, source, tmp_path, DERIVATION)
    path = tmp_path / "seg.dcm"
    return (
        source,
        mask,
        ct,
        path,
        write_segmentation(Volume(mask, grid), source, ct, path, DERIVATION),
    )


def test_highdicom_finds_the_same_mask_at_the_same_place(written):
    source, mask, _, path, _ = written
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    found = np.zeros(mask.shape, bool)
    for index in np.argwhere(volume.array):
        place = volume.affine @ (*index, 1.0)
        own = source.volume.grid.index(place[:3])
        np.testing.assert_allclose(own, np.rint(own), atol=1e-4)
        found[tuple(np.rint(own).astype(int))] = True
    assert np.array_equal(found, mask)


def test_it_is_a_segment_of_the_synthetic_ct_in_the_study_of_the_mr(written):
    source, _, ct, path, uid = written
    made = dcmread(path)
    assert (made.SOPClassUID, made.SOPInstanceUID) == (SegmentationStorage, uid)
    assert (made.SegmentationType, made.SegmentSequence[0].SegmentLabel) == ("BINARY", "BODY")
    assert made.FrameOfReferenceUID == source.frame_of_reference_uid
    assert made.StudyInstanceUID == source.headers[0].StudyInstanceUID
    assert made.PatientName == source.headers[0].PatientName
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ct.series_uid
    named = {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for frame in made.PerFrameFunctionalGroupsSequence
        for item in frame.DerivationImageSequence[0].SourceImageSequence
    }
    assert named == {(CTImageStorage, uid) for uid in ct.sop_instance_uids}


def test_dciodvfy_finds_no_error(written):
    report = run_program("dciodvfy", written[3])
    assert "Segmentation" in report
    assert validation_errors(report) == []


def test_what_cannot_be_written_is_told(written, tmp_path):
    source, mask, ct, _, _ = written
    other = make_grid((8, 12, 16), (3.0, 1.0, 1.0))
    with pytest.raises(InputRejectedError, match="resample it"):
        write_segmentation(Volume(mask, other), source, ct, tmp_path / "x.dcm", DERIVATION)
    body = Volume(mask, source.volume.grid)
    with pytest.raises(OutputError, match="cannot be written"):
        write_segmentation(body, source, ct, tmp_path / "absent" / "x.dcm", DERIVATION)
