"""The synthetic CT as a CT Image Storage series on the source MR's own slices (PS3.3 A.3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from mrct_runtime.dicom.composing import composed, put_grey_pixels, write_object
from mrct_runtime.dicom.derived import (
    SOURCE_IMAGE,
    SYNTHETIC,
    Derivation,
    code_item,
    decimal,
    inherit,
    inherit_thickness,
    plain,
    reference_item,
    series_number,
)
from mrct_runtime.dicom.frames import frame_number
from mrct_runtime.dicom.header import numbers, silenced
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.errors import InputRejectedError, NumericError
from mrct_runtime.intensity import HuWindow
from mrct_runtime.scratch import slices
from mrct_runtime.volume import Volume

# Planning systems truncate outside the 12-bit CT range, so what they show is decided here.
STORED = HuWindow(-1024.0, 3071.0)
# Centre, width and name, the first being what a viewer shows at first.
WINDOWS = (("40", "400", "SOFT TISSUE"), ("400", "1800", "BONE"))
# The result lies on the MR's grid when no voxel is further off than a header's rounding.
GRID_TOLERANCE_MM = 1e-4


@dataclass(frozen=True)
class WrittenSeries:
    """The files, one a slice in the source's order, their series, and how many voxels were clipped."""

    files: tuple[Path, ...]
    series_uid: str
    sop_instance_uids: tuple[str, ...]
    clipped: int

    def reference(self, s: int) -> Dataset:
        """The image of slice s as sequences of references name it."""
        item = Dataset()
        item.ReferencedSOPClassUID = CTImageStorage
        item.ReferencedSOPInstanceUID = self.sop_instance_uids[s]
        return item


def write_ct_series(
    hu: Volume,
    source: Series,
    folder: Path | str,
    derivation: Derivation,
    *,
    kvp: float | None = None,
) -> WrittenSeries:
    """CT.0001.dcm and so on in an existing folder, from HU [S, H, W] on the source's grid.

    Stored as whole HU in int16, slope 1, intercept 0, clipped to [-1024, 3071]. Patient, study and frame of reference are the
    source's, the series and its instances are new (`naming`), the geometry is the source's to the digit.
    `kvp` is for planning systems that choose a density curve by it; no tube had it.
    """
    check_on_grid(hu, source)
    # all of it before the first file, and one slice at a time after: a study in whole HU is large
    check_finite(hu.array, "the synthetic CT")
    uid = series_uid("CT", hu.array, source, derivation, str(kvp))
    files, uids, clipped = [], [], 0
    with silenced():
        for place, (header, image_hu) in enumerate(
            zip(source.headers, slices(hu.array), strict=True)
        ):
            pixels, outside = quantised(image_hu)
            clipped += outside
            image = _shared(header, source, derivation, kvp)
            image.SeriesInstanceUID = uid
            image.SOPInstanceUID = content_uid(uid, str(place))
            image.InstanceNumber = place + 1
            place_slice(image, header, source, derivation)
            _pixels(image, pixels)
            files.append(Path(folder) / f"CT.{place + 1:04d}.dcm")
            write_object(image, files[-1])
            uids.append(str(image.SOPInstanceUID))
    return WrittenSeries(tuple(files), uid, tuple(uids), clipped)


def check_on_grid(result: Volume, source: Series) -> None:
    """Refuses a result that does not lie on the source's slices and pixels."""
    if not result.grid.matches(source.volume.grid, tolerance_mm=GRID_TOLERANCE_MM):
        raise InputRejectedError(
            f"a result of {result.grid.shape} voxels is not on the grid of {source}, {source.volume.grid.shape}; "
            "resample it to the MR's grid first"
        )


def check_finite(array: NDArray[np.floating], what: str) -> None:
    """Refuses NaN and infinities: cast to integers they would become 0, a plausible water image."""
    bad = [np.count_nonzero(~np.isfinite(image)) for image in slices(array)]
    if any(bad):
        first = int(np.flatnonzero(bad)[0])
        raise NumericError(
            f"{what} holds {sum(bad)} voxels that are not numbers, first in slice {first + 1}; "
            "nothing was written, run the full-precision model"
        )


def quantised(hu: NDArray[np.floating]) -> tuple[NDArray[np.int16], int]:
    """Whole HU clipped to the stored range, and the number of voxels that lay outside it; of finite values."""
    rounded = np.rint(hu)
    clipped = STORED.clip(rounded)
    return clipped.astype(np.int16), int(np.count_nonzero(clipped != rounded))


def _shared(header: Dataset, source: Series, derivation: Derivation, kvp: float | None) -> Dataset:
    """All but what differs from slice to slice."""
    image = composed(header, source, derivation)
    image.SOPClassUID = CTImageStorage
    image.Modality = "CT"
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.SeriesNumber = series_number(header, 1)
    image.SeriesDescription = SYNTHETIC
    image.ImageComments = plain(f"{SYNTHETIC}. Not for diagnosis or treatment.", 10240)
    # There was no tube and no acquisition of a CT.
    image.KVP = None if kvp is None else decimal(kvp)
    image.AcquisitionNumber = None
    inherit(image, header, "AcquisitionDate", "AcquisitionTime")
    if "PatientPosition" not in image:
        image.PatientPosition = None
    return image


def place_slice(image: Dataset, header: Dataset, source: Series, derivation: Derivation) -> None:
    """Position and provenance of one slice; source strings are kept, so fusion and contours match to the bit."""
    inherit(image, header, "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    grid = source.volume.grid
    spacing_mm = float(grid.spacing_mm[0])
    inherit_thickness(image, header, spacing_mm)
    image.SpacingBetweenSlices = decimal(round(spacing_mm, 6))
    position = numbers(header, "ImagePositionPatient", 3)
    image.SliceLocation = decimal(round(float(np.asarray(position) @ grid.normal), 6))
    made_from = reference_item(header)
    if (frame := frame_number(header)) is not None:
        made_from.ReferencedFrameNumber = frame
    made_from.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    made_from.SpatialLocationsPreserved = derivation.locations_preserved
    image.SourceImageSequence = [made_from]
    series = Dataset()
    series.SeriesInstanceUID = source.uid
    series.ReferencedInstanceSequence = [reference_item(header)]
    image.ReferencedSeriesSequence = [series]


def _pixels(image: Dataset, stored: NDArray[np.int16]) -> None:
    put_grey_pixels(image, stored)
    image.RescaleIntercept = "0"
    image.RescaleSlope = "1"
    image.RescaleType = "HU"
    # No PixelPaddingValue: air outside the body is stored as -1024 like gas in the bowel, which is no padding, and a
    # value of its own below it is what planning systems clip or take for a density.
    centres, widths, names = zip(*WINDOWS, strict=True)
    image.WindowCenter, image.WindowWidth = list(centres), list(widths)
    image.WindowCenterWidthExplanation = list(names)
