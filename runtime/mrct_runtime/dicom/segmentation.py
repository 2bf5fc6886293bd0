"""The body as a binary Segmentation (PS3.3 A.51) of the synthetic CT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from mrct_runtime.dicom.derived import (
    BODY,
    CONTOUR,
    MANUFACTURER,
    Derivation,
    series_number,
)
from mrct_runtime.dicom.header import silenced, text
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.parametric_map import adopt, geometry_only
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.dicom.writing import WrittenSeries, check_on_grid
from mrct_runtime.errors import OutputError
from mrct_runtime.volume import Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
ENTIRE_BODY = Code("38266002", "SCT", "Entire body")


def write_segmentation(
    body: Volume, source: Series, ct: WrittenSeries, path: Path, derivation: Derivation
) -> str:
    """The SOP instance UID of the file written: one segment, BODY, of a mask [S, H, W]; a frame a slice."""
    check_on_grid(body, source)
    with silenced():
        result = _segmentation(body, source, ct, derivation)
        try:
            result.save_as(path, enforce_file_format=True)
        except OSError as error:
            raise OutputError(f"{path.name}: cannot be written ({error.strerror})") from error
    return str(result.SOPInstanceUID)


def _segmentation(
    body: Volume, source: Series, ct: WrittenSeries, derivation: Derivation
) -> Dataset:
    import highdicom as hd

    first = source.headers[0]
    uid = series_uid("SEG", body.array, source, derivation, *ct.sop_instance_uids)
    made: Dataset = hd.seg.Segmentation(
        source_images=[_image(s, source, ct) for s in range(len(source.headers))],
        pixel_array=body.array,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(derivation)],
        series_instance_uid=uid,
        series_number=series_number(first, 4),
        sop_instance_uid=content_uid(uid),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=derivation.software_versions[0],
        device_serial_number=derivation.bundle_sha256[:16] or "none",
        # a reader's mask then has the shape of the CT
        omit_empty_frames=False,
        content_label=BODY,
        content_description=CONTOUR,
        content_creator_name=MANUFACTURER,
    )
    adopt(made, source, derivation)
    made.SeriesDescription = CONTOUR
    if not text(made, "Laterality"):
        # the segment says what part of the body it is
        made.pop("Laterality", None)
    return made


def _image(s: int, source: Series, ct: WrittenSeries) -> Dataset:
    """A stand-in for the CT image of slice s, which names no patient."""
    image = geometry_only(source.headers[s], source)
    image.Modality = "CT"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = ct.sop_instance_uids[s]
    image.SeriesInstanceUID = ct.series_uid
    return image


def _segment(derivation: Derivation) -> SegmentDescription:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name="body mask of the MR",
        family=codes.CID7162.HistogramAnalysis,
        version=derivation.software_versions[0],
    )
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=BODY,
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=ENTIRE_BODY,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
