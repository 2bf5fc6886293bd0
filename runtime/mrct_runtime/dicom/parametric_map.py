"""The uncertainty as a Parametric Map (PS3.3 A.75): never as a CT, on which a planning system could plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset

from mrct_runtime.dicom.derived import (
    MANUFACTURER,
    PRESENT,
    UNCERTAINTY,
    Derivation,
    decimal,
    equipment_items,
    inherit,
    inherit_study,
    inherit_thickness,
    local_time,
    series_number,
    stamp,
)
from mrct_runtime.dicom.frame_references import refer_to_frames, stand_in
from mrct_runtime.dicom.frame_stream import Frames
from mrct_runtime.dicom.header import silenced, text
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.dicom.writing import check_finite, check_on_grid
from mrct_runtime.errors import NumericError, OutputError
from mrct_runtime.scratch import slices
from mrct_runtime.volume import Volume

if TYPE_CHECKING:
    from highdicom.pm import RealWorldValueMapping

GEOMETRY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
# Body parts without a face; one that is not told may have one.
FACELESS = frozenset(
    {"ABDOMEN", "BLADDER", "CHEST", "HIP", "LSPINE", "PELVIS", "PROSTATE", "RECTUM", "UTERUS"}
)
# What is shown at first: grey up to 200 HU, the spread at the body's edge.
SHOWN_HU = (100.0, 200.0)


def write_parametric_map(
    std_hu: Volume, source: Series, path: Path | str, derivation: Derivation
) -> str:
    """The SOP instance UID of the file written: float32 HU [S, H, W], one frame a slice, on the source's grid.

    The values are the spread of the Monte Carlo samples, or what a recalibration made of it.
    """
    check_on_grid(std_hu, source)
    check_finite(std_hu.array, "the standard deviation")
    least = min(image.min() for image in slices(std_hu.array))
    if least < 0:
        raise NumericError(f"a standard deviation of {least:g} HU is below 0")
    with silenced():
        result = _map(std_hu, source, derivation)
        try:
            result.save_as(Path(path), enforce_file_format=True)
        except OSError as error:
            raise OutputError(f"{Path(path).name}: cannot be written ({error.strerror})") from error
    return str(result.SOPInstanceUID)


def _map(std_hu: Volume, source: Series, derivation: Derivation) -> Dataset:
    import highdicom as hd

    array = std_hu.array.astype(np.float32, copy=False)
    first = source.headers[0]
    uid = series_uid("STD", array, source, derivation)
    count, rows, columns = array.shape
    result: Dataset = hd.pm.ParametricMap(
        source_images=[_of_one_pixel(header, source) for header in source.headers],
        # highdicom holds all voxels several times: it is shown one of each slice, which tells the order of frames
        pixel_array=np.arange(count, dtype=np.float32).reshape(count, 1, 1),
        series_instance_uid=uid,
        series_number=series_number(first, 2),
        sop_instance_uid=content_uid(uid),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=derivation.software_versions[0],
        device_serial_number=derivation.bundle_sha256[:16] or "none",
        contains_recognizable_visual_features=text(first, "BodyPartExamined") not in FACELESS,
        real_world_value_mappings=[_in_hu()],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=SHOWN_HU[0], window_width=SHOWN_HU[1])
        ],
        content_label="STD_HU",
        content_description=f"{derivation.spread} of Monte Carlo samples, RESEARCH USE ONLY",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
    )
    order = np.frombuffer(result.FloatPixelData, "<f4").astype(int).tolist()
    result.Rows, result.Columns = rows, columns
    result.FloatPixelData = Frames(array, order)
    refer_to_frames(result, source.headers)
    adopt(result, source, derivation)
    result.SeriesDescription = UNCERTAINTY
    result.SyntheticData = "YES"
    for frame in result.PerFrameFunctionalGroupsSequence:
        for item in frame.DerivationImageSequence[0].SourceImageSequence:
            item.SpatialLocationsPreserved = derivation.locations_preserved
    return result


def _of_one_pixel(header: Dataset, source: Series) -> Dataset:
    image = geometry_only(header, source)
    image.Rows = image.Columns = 1
    return image


def _in_hu() -> RealWorldValueMapping:
    """Stored floats are HU as they stand."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.pm.RealWorldValueMapping(
        lut_label="STD_HU",
        lut_explanation="Monte Carlo standard deviation, research",
        unit=codes.UCUM.HounsfieldUnit,
        value_range=(float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.DCM.AttenuationCoefficient,
    )


def adopt(made: Dataset, source: Series, derivation: Derivation) -> None:
    """Gives what highdicom made the source's patient and study, and tells when and by what it was made."""
    first = source.headers[0]
    inherit_study(made, first, source.frame_of_reference_uid)
    # pydicom takes several values as a list, which highdicom does not.
    made.SoftwareVersions = derivation.software_versions
    at = local_time(first, derivation)
    stamp(made, at)
    made.ContributingEquipmentSequence = equipment_items(first, derivation, at)
    # highdicom draws one at random, and the same object has the same bytes whenever it is made
    dimensions = content_uid(made.SOPInstanceUID, "dimensions")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions


def geometry_only(header: Dataset, source: Series) -> Dataset:
    """A stand-in for the source image that names no patient: highdicom checks such values and quotes them."""
    image = Dataset()
    inherit(image, header, *GEOMETRY)
    stand_in(image, header)
    image.FrameOfReferenceUID = source.frame_of_reference_uid
    image.Modality = source.modality
    for keyword in PRESENT:
        setattr(image, keyword, None)
    spacing_mm = float(source.volume.grid.spacing_mm[0])
    inherit_thickness(image, header, spacing_mm)
    image.SpacingBetweenSlices = decimal(round(spacing_mm, 6))
    return image
