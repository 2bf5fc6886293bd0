import numpy as np
import pytest
import SimpleITK
from dicom_study import GE_UID, make_grid, run_program, validation_errors, write_series
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage
from skimage.draw import polygon2mask

from mrct_runtime.dicom import Derivation, read_study, write_ct_series
from mrct_runtime.dicom.structure_set import write_structure_set
from mrct_runtime.errors import InputRejectedError
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)


def mask_on(grid):
    """A body of one piece in the first slices and of two in the last."""
    s, y, x = np.indices(grid.shape) / (np.reshape(grid.shape, (3, 1, 1, 1)) - 1)
    apart = np.where(s < 0.5, 0.0, 0.25)
    two = np.minimum(np.abs(x - 0.5 + apart), np.abs(x - 0.5 - apart))
    return (two / 0.2) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1


@pytest.fixture(params=[(0, 0, 0), (18, -7, 3), (0, 180, 0)], ids=["straight", "oblique", "turned"])
def written(request, tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 30, 40), (3.0, 1.0, 1.25), request.param))
    return _written(read_study(tmp_path / "mr"), tmp_path)


def _written(source, folder, mask=None):
    grid = source.volume.grid
    body = Volume(mask_on(grid) if mask is None else mask, grid)
    (folder / "sct").mkdir()
    hu = Volume(np.where(body.array, 40.0, -1000.0).astype(np.float32), grid)
    ct = write_ct_series(hu, source, folder / "sct", DERIVATION)
    uid = write_structure_set(body, source, ct, folder / "body.dcm", DERIVATION)
    return source, body, ct, dcmread(folder / "body.dcm"), uid


def drawn(structures, ct):
    """The contours as a mask [S, H, W] on the CT images that they reference, by ITK's geometry."""
    images = {
        uid: SimpleITK.ReadImage(str(path))
        for uid, path in zip(ct.sop_instance_uids, ct.files, strict=True)
    }
    masks = {uid: np.zeros(image.GetSize()[1::-1], int) for uid, image in images.items()}
    for contour in structures.ROIContourSequence[0].ContourSequence:
        uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        points = np.reshape(np.asarray(contour.ContourData, float), (-1, 3))
        assert len(points) == contour.NumberOfContourPoints
        index = np.array([images[uid].TransformPhysicalPointToContinuousIndex(p) for p in points])
        # in the plane of the image
        assert np.abs(index[:, 2]).max() < 1e-4
        masks[uid] += polygon2mask(masks[uid].shape, index[:, 1::-1])
    return np.stack([masks[uid] for uid in ct.sop_instance_uids])


def test_the_voxels_inside_the_contours_are_the_mask(written):
    _, body, ct, structures, _ = written
    assert np.array_equal(drawn(structures, ct) == 1, body.array)


def test_it_is_one_external_roi_on_the_synthetic_ct_in_the_frame_of_the_mr(written):
    source, _, ct, structures, uid = written
    assert (structures.SOPClassUID, structures.Modality) == (RTStructureSetStorage, "RTSTRUCT")
    assert structures.SOPInstanceUID == uid
    (roi,) = structures.StructureSetROISequence
    assert (roi.ROIName, roi.ROIGenerationAlgorithm) == ("BODY", "AUTOMATIC")
    assert roi.ReferencedFrameOfReferenceUID == source.frame_of_reference_uid
    assert structures.RTROIObservationsSequence[0].RTROIInterpretedType == "EXTERNAL"
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    assert study.ReferencedSOPInstanceUID == source.headers[0].StudyInstanceUID
    series = study.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == ct.series_uid
    named = [item.ReferencedSOPInstanceUID for item in series.ContourImageSequence]
    assert named == list(ct.sop_instance_uids)
    kinds = {c.ContourGeometricType for c in structures.ROIContourSequence[0].ContourSequence}
    assert kinds == {"CLOSED_PLANAR"}
    assert structures.PatientName == source.headers[0].PatientName
    assert "RESEARCH USE ONLY" in structures.SeriesDescription


def test_dciodvfy_finds_no_error(written, tmp_path):
    report = run_program("dciodvfy", tmp_path / "body.dcm")
    assert "RTStructureSet" in report
    assert validation_errors(report) == []


def test_a_contour_of_more_points_than_64_kilobytes_hold_is_read_back(tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 100, 100), (3.0, 1.0, 1.25), (18, -7, 3)))
    source = read_study(tmp_path / "mr")
    # a comb with notched teeth
    mask = np.zeros(source.volume.grid.shape, bool)
    mask[3, :, 0] = mask[3, 1::4] = mask[3, 2::4, ::2] = True
    _, body, ct, structures, _ = _written(source, tmp_path, mask)
    contours = structures.ROIContourSequence[0].ContourSequence
    assert max(len("\\".join(map(str, c.ContourData))) for c in contours) > 65534
    assert np.array_equal(drawn(structures, ct) == 1, body.array)


def test_a_real_study_with_jittered_slices_keeps_contours_in_the_planes_of_its_images(
    shared_data, tmp_path
):
    source = read_study(shared_data / "ge_fse_pd_axial_dicom", series="2")
    _, body, ct, structures, _ = _written(source, tmp_path)
    assert np.array_equal(drawn(structures, ct) == 1, body.array)
    assert validation_errors(run_program("dciodvfy", tmp_path / "body.dcm"), [GE_UID]) == []


def test_a_mask_off_the_grid_is_refused(written, tmp_path):
    source, _, ct, _, _ = written
    other = make_grid((8, 30, 40), (3.0, 1.0, 1.0))
    with pytest.raises(InputRejectedError, match="resample it"):
        write_structure_set(
            Volume(np.zeros(other.shape, bool), other), source, ct, tmp_path / "x.dcm", DERIVATION
        )
