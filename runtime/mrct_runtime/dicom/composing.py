"""What every object that is put together here has in common, and how it becomes a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from mrct_runtime.dicom.derived import (
    MANUFACTURER,
    Derivation,
    code_item,
    equipment_items,
    inherit_study,
    local_time,
    stamp,
)
from mrct_runtime.dicom.reading import Series
from mrct_runtime.errors import OutputError


def made_here(header: Dataset, source: Series, derivation: Derivation) -> Dataset:
    """An object of the source's patient, study and frame of reference, made by this program at the derivation's time."""
    made = Dataset()
    inherit_study(made, header, source.frame_of_reference_uid)
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions = derivation.software_versions
    at = local_time(header, derivation)
    made.ContributingEquipmentSequence = equipment_items(header, derivation, at)
    stamp(made, at)
    return made


def composed(header: Dataset, source: Series, derivation: Derivation) -> Dataset:
    """An image made here that tells how."""
    image = made_here(header, source, derivation)
    image.SyntheticData = "YES"
    image.DerivationDescription = derivation.description
    image.DerivationCodeSequence = [code_item(code) for code in derivation.codes]
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    return image


def put_grey_pixels(image: Dataset, stored: NDArray[np.int16 | np.uint16]) -> None:
    """The image pixel module of one grey slice [H, W], 16 bits signed or not (PS3.3 C.7.6.3)."""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated = 16
    image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()


def write_object(made: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    """The file; OutputError where it cannot be written."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    try:
        dcmwrite(path, made, enforce_file_format=True)
    except OSError as error:
        raise OutputError(f"{path.name}: cannot be written ({error.strerror})") from error
