"""The body's outline as an RT Structure Set (PS3.3 A.19) on the slices of the synthetic CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from mrct_runtime.contours import outlines
from mrct_runtime.dicom.composing import made_here, write_object
from mrct_runtime.dicom.derived import BODY, CONTOUR, Derivation, decimal, plain, series_number
from mrct_runtime.dicom.header import numbers, silenced, text
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.dicom.writing import WrittenSeries, check_on_grid
from mrct_runtime.volume import FloatArray, Volume

HOW = (
    "Found in the MR by a threshold; where the field of view ends inside the body, its edge is the contour. "
    "Not reviewed, research use only."
)
# PS3.3 C.8.8.5 names the study by the class of a service that was retired long ago.
DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
GREEN = ["0", "255", "0"]
CONTOUR_DATA = Tag("ContourData")


def write_structure_set(
    body: Volume, source: Series, ct: WrittenSeries, path: Path, derivation: Derivation
) -> str:
    """The SOP instance UID of the file written: the ROI BODY, closed planar contours in LPS mm, of a mask [S, H, W].

    Each contour lies in the plane of the CT image that it references. Implicit VR: a contour may have more points than fit
    into the 64 KB that an explicit one allows.
    """
    check_on_grid(body, source)
    first = source.headers[0]
    uid = series_uid("RTSTRUCT", body.array, source, derivation, *ct.sop_instance_uids)
    with silenced():
        made = made_here(first, source, derivation)
        made.SOPClassUID = RTStructureSetStorage
        made.SeriesInstanceUID = uid
        made.SOPInstanceUID = content_uid(uid)
        made.Modality = "RTSTRUCT"
        made.SeriesNumber = series_number(first, 4)
        made.SeriesDescription = CONTOUR
        made.InstanceNumber = 1
        made.OperatorsName = None
        made.StructureSetLabel = BODY
        made.StructureSetDescription = HOW
        made.StructureSetDate, made.StructureSetTime = (
            made.get("SeriesDate"),
            made.get("SeriesTime"),
        )
        made.ReferencedFrameOfReferenceSequence = [_frame(source, ct)]
        made.StructureSetROISequence = [_roi(source, derivation)]
        made.ROIContourSequence = [_contours(body, source, ct)]
        made.RTROIObservationsSequence = [_observation()]
        made.ApprovalStatus = "UNAPPROVED"
        write_object(made, path, ImplicitVRLittleEndian)
    return str(made.SOPInstanceUID)


def _frame(source: Series, ct: WrittenSeries) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = ct.series_uid
    series.ContourImageSequence = [ct.reference(s) for s in range(len(ct.files))]
    study = Dataset()
    study.ReferencedSOPClassUID = DETACHED_STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = text(source.headers[0], "StudyInstanceUID")
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(source: Series, derivation: Derivation) -> Dataset:
    roi = Dataset()
    roi.ROINumber = 1
    roi.ReferencedFrameOfReferenceUID = source.frame_of_reference_uid
    roi.ROIName = BODY
    roi.ROIDescription = HOW
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = plain(f"{derivation.software_versions[0]}, body mask", 64)
    return roi


def _contours(body: Volume, source: Series, ct: WrittenSeries) -> Dataset:
    drawn = Dataset()
    drawn.ROIDisplayColor = GREEN
    drawn.ReferencedROINumber = 1
    drawn.ContourSequence = [
        _contour(_places(polygon, header, source), ct.reference(s))
        for s, (header, mask) in enumerate(zip(source.headers, body.array, strict=True))
        for polygon in outlines(mask)
    ]
    return drawn


def _contour(places_mm: FloatArray, image: Dataset) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [image]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(places_mm)
    contour[CONTOUR_DATA] = _decimals(np.round(places_mm, 5).ravel())
    return contour


def _decimals(values: FloatArray) -> RawDataElement:
    """ContourData as it stands in the file: pydicom makes an object of each number, of which a long body has millions."""
    text = "\\".join(decimal(value) for value in values).encode()
    text += b" " * (len(text) % 2)
    return RawDataElement(
        CONTOUR_DATA, "DS", len(text), text, 0, is_implicit_VR=True, is_little_endian=True
    )


def _places(polygon: FloatArray, header: Dataset, source: Series) -> FloatArray:
    """LPS mm [n, 3] of (row, column) [n, 2] on the slice of a header, whose own position may be off the even grid."""
    origin = np.asarray(numbers(header, "ImagePositionPatient", 3))
    return np.asarray(origin + polygon @ source.volume.grid.affine[:3, 1:3].T)


def _observation() -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = 1
    observation.ReferencedROINumber = 1
    observation.RTROIInterpretedType = "EXTERNAL"
    observation.ROIInterpreter = None
    return observation
