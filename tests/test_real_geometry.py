"""Every MR stack of the real data that is a volume goes through mrct-infer, and its CT lies where the MR lay."""

import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import gunzip
from pydicom import dcmread

from mrct_cli import boundary
from mrct_cli.main import load
from mrct_runtime.demonstration import demonstration_bundle

PHILIPS, VENDORS = "philips_classic_and_enhanced_dicom", "vendor_small_and_compressed_dicom"
PROSTATE = "prostatex_mr_dicom/ProstateX"
TOLERANCE_MM = 1e-4
# (study, what --series takes, slices); an oblique one for each vendor, and every plane
STACKS = [
    ("ge_fse_pd_axial_dicom", "2", 20),
    (f"{PHILIPS}/enhanced", "1901", 40),
    *((f"{PHILIPS}/enhanced", f"2001:{k}", 53) for k in (1, 2, 3, 4)),
    *((PROSTATE, name, 19) for name in ("3", "4", "6:1", "6:2", "6:3", "7", "8")),
    (PROSTATE, "5", 15),
    (PROSTATE, "9", 16),
    ("siemens_xa30_enhanced_mr_dicom", "5", 96),
    *(("siemens_xa30_enhanced_mr_dicom", f"8:{k}", 33) for k in (1, 2)),
    *((f"{VENDORS}/failing/sliceorientation", name, 2) for name in ("202", "501")),
    (f"{VENDORS}/failing/slicecount", "4", 2),
    *((f"{VENDORS}/{vendor}", "4", 4) for vendor in ("ge", "siemens")),
    *(
        (f"{VENDORS}/generic/compressed_{syntax}", "4", 4)
        for syntax in ("rle", "jpeg", "jpegls", "j2k")
    ),
    (f"{VENDORS}/hitachi", "10", 4),
    (f"{VENDORS}/hyperfine", "10", 8),
    (f"{VENDORS}/philips", "401", 4),
    (f"{VENDORS}/philips_enhanced", "301", 8),
    (f"{VENDORS}/siemens_multiframe", "5", 8),
]


@pytest.fixture(scope="module")
def bundle():
    """A trained network, which takes one evaluation a slice."""
    return demonstration_bundle("direct")


def infer(study, out, bundle, series):
    arguments = (study, out, "--bundle", bundle, "--series", series, "--quiet")
    return boundary.run(load("infer"), "mrct-infer", [str(a) for a in arguments])


def source_planes(study):
    """(SOP instance UID, frame number or None) -> position, orientation, pixel spacing and patient position."""
    found = {}
    for path in sorted(study.rglob("*")):
        if not path.is_file():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = dcmread(path, stop_before_pixels=True, force=True)
            uid = image.get("SOPInstanceUID")
            patient = image.get("PatientPosition")
            if "ImagePositionPatient" in image:
                found[uid, None] = (
                    np.asarray(image.ImagePositionPatient, float),
                    np.asarray(image.ImageOrientationPatient, float),
                    np.asarray(image.PixelSpacing, float),
                    patient,
                )
            for k, frame in enumerate(image.get("PerFrameFunctionalGroupsSequence", []), 1):
                shared = image.get("SharedFunctionalGroupsSequence", [None])[0]
                orientation, measures = (
                    (frame if keyword in frame else shared)[keyword][0]
                    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence")
                )
                found[uid, k] = (
                    np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, float),
                    np.asarray(orientation.ImageOrientationPatient, float),
                    np.asarray(measures.PixelSpacing, float),
                    patient,
                )
    return found


def check_written(out, study, slices):
    planes = source_planes(study)
    files = sorted((out / "sct").iterdir())
    assert len(files) == slices
    corners, seen = [], set()
    for path in files:
        made = dcmread(path)
        (item,) = made.SourceImageSequence
        key = (item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber"))
        seen.add(key)
        position, orientation, spacing, patient = planes[key]
        # whatever that is, feet first as well: geometry follows from positions alone
        assert (made.get("PatientPosition") or None) == patient
        np.testing.assert_allclose(made.ImagePositionPatient, position, atol=TOLERANCE_MM)
        np.testing.assert_allclose(made.ImageOrientationPatient, orientation, atol=1e-9)
        np.testing.assert_allclose(made.PixelSpacing, spacing, atol=1e-9)
        rows, columns = made.Rows - 1, made.Columns - 1
        down, right = orientation[3:] * spacing[0], orientation[:3] * spacing[1]
        corners.append([position + r * down + c * right for r in (0, rows) for c in (0, columns)])
    assert len(seen) == slices
    corners = np.asarray(corners, float)
    # where the scanner rounded its positions, no affine grid can be nearer than this
    even = np.linspace(corners[0], corners[-1], slices)
    rounded = np.abs(corners - even).max()
    shape = (slices, rows + 1, columns + 1)
    for found in (itk_corners(out / "sct", shape), nifti_corners(out / "sct.nii.gz", shape)):
        forth, back = (np.abs(order - even).max() for order in (found, found[::-1]))
        assert min(forth, back) < TOLERANCE_MM + rounded
    return rounded


def itk_corners(folder, shape):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert image.GetSize()[::-1] == shape
    return corners_of(shape, lambda s, r, c: image.TransformIndexToPhysicalPoint((c, r, s)))


def nifti_corners(path, shape):
    image = nibabel.load(path)
    # the file's axes run otherwise than the volume's, and its world is RAS
    assert image.shape == shape[::-1]
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    return corners_of(shape, lambda s, r, c: (affine @ (c, r, s, 1))[:3])


def corners_of(shape, place):
    slices, rows, columns = shape
    return np.array(
        [[place(s, r, c) for r in (0, rows - 1) for c in (0, columns - 1)] for s in range(slices)]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("study", "series", "slices"), STACKS)
def test_the_ct_of_every_real_stack_lies_where_its_mr_lay(
    shared_data, bundle, tmp_path, study, series, slices
):
    assert infer(shared_data / study, tmp_path / "out", bundle, series) == 0
    rounded = check_written(tmp_path / "out", shared_data / study, slices)
    assert rounded < (0.08 if study.startswith("ge_") else 1e-3)


@pytest.mark.slow
def test_the_ct_of_a_whole_sagittal_philips_head_lies_where_its_mr_lay(
    shared_data, bundle, tmp_path
):
    gunzip(shared_data / PHILIPS / "classic_mprage_gz", tmp_path / "study")
    assert infer(tmp_path / "study", tmp_path / "out", bundle, "1301") == 0
    check_written(tmp_path / "out", tmp_path / "study", 170)


def test_the_ct_of_a_few_oblique_sagittal_slices_lies_where_they_lay(shared_data, bundle, tmp_path):
    # oblique by 39 degrees
    study, series, slices = f"{VENDORS}/hitachi", "10", 4
    assert infer(shared_data / study, tmp_path / "out", bundle, series) == 0
    check_written(tmp_path / "out", shared_data / study, slices)
