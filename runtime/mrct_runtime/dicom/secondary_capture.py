"""The uncertainty as Secondary Capture images (PS3.3 A.8), for viewers that read no Parametric Map. Never as a CT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from mrct_runtime.dicom.composing import composed, put_grey_pixels, write_object
from mrct_runtime.dicom.derived import UNCERTAINTY, Derivation, code_item, plain, series_number
from mrct_runtime.dicom.header import silenced
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.dicom.writing import check_on_grid, place_slice
from mrct_runtime.scratch import slices
from mrct_runtime.volume import FloatArray, Grid, Volume

if TYPE_CHECKING:
    from mrct_runtime.arrays import Array

# Tenths of HU in 16 bits: up to 6553.5 HU, wider than the stored range of a CT.
STEP_HU = 0.1
LARGEST = 65535
SHOWN_HU = (100.0, 200.0)
# The ends of x, y and z, the positive one first; a component below some six degrees is no direction.
SIDES = ("LR", "PA", "HF")
NOTABLE = 0.1


def write_maps(
    std_hu: Volume, source: Series, folder: Path | str, derivation: Derivation
) -> tuple[Path, ...]:
    """STD.0001.dcm and so on in an existing folder, one a slice, from HU [S, H, W] on the source's grid.

    Stored as unsigned tenths of HU, slope 0.1, with modality OT and no rescale type that a CT has: the unit stands in the real
    world value mapping and in words. The geometry is the source's to the digit.
    """
    check_on_grid(std_hu, source)
    uid = series_uid("maps", std_hu.array, source, derivation)
    files = []
    with silenced():
        for place, (header, image_hu) in enumerate(
            zip(source.headers, slices(std_hu.array), strict=True)
        ):
            image = _image(header, source, derivation)
            image.SeriesInstanceUID = uid
            image.SOPInstanceUID = content_uid(uid, str(place))
            image.InstanceNumber = place + 1
            place_slice(image, header, source, derivation)
            image.PatientOrientation = patient_orientation(source.volume.grid)
            put_grey_pixels(image, tenths(image_hu))
            files.append(Path(folder) / f"STD.{place + 1:04d}.dcm")
            write_object(image, files[-1])
    return tuple(files)


def tenths(std_hu: Array) -> NDArray[np.uint16]:
    """Whole tenths of HU, held in 16 bits."""
    return np.clip(np.rint(std_hu / STEP_HU), 0, LARGEST).astype(np.uint16)


def patient_orientation(grid: Grid) -> list[str]:
    """Where rows and columns of the slices run to: the letters of each direction (L or R, P or A, H or F), largest first."""
    return [_letters(grid.directions[:, axis]) for axis in (2, 1)]


def _letters(direction: FloatArray) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(
        SIDES[axis][int(direction[axis] < 0)] for axis in order if abs(direction[axis]) > NOTABLE
    )


def _image(header: Dataset, source: Series, derivation: Derivation) -> Dataset:
    image = composed(header, source, derivation)
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.Modality = "OT"
    image.ConversionType = "SYN"
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.SeriesNumber = series_number(header, 3)
    image.SeriesDescription = UNCERTAINTY
    image.ImageComments = plain(
        f"{UNCERTAINTY}. {derivation.spread} of Monte Carlo samples in HU: stored value x {STEP_HU:g}. No CT.",
        10240,
    )
    image.RescaleIntercept = "0"
    image.RescaleSlope = f"{STEP_HU:g}"
    image.RescaleType = "US"
    image.WindowCenter, image.WindowWidth = (f"{value:g}" for value in SHOWN_HU)
    image.RealWorldValueMappingSequence = [_in_hu()]
    return image


def _in_hu() -> Dataset:
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped = 0
    mapping.RealWorldValueLastValueMapped = LARGEST
    mapping.RealWorldValueIntercept = 0.0
    mapping.RealWorldValueSlope = STEP_HU
    mapping.LUTExplanation = "Monte Carlo standard deviation, research"
    mapping.LUTLabel = "STD_HU"
    mapping.MeasurementUnitsCodeSequence = [code_item(codes.UCUM.HounsfieldUnit)]
    return mapping
