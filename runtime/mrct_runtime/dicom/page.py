"""Pictures for people as Secondary Capture pages (PS3.3 A.8): nothing to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from mrct_runtime.dicom.composing import composed, write_object
from mrct_runtime.dicom.derived import SYNTHETIC, Derivation, series_number
from mrct_runtime.dicom.header import silenced
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import content_uid


def write_pages(
    pictures: Sequence[NDArray[np.uint8]],
    source: Series,
    folder: Path | str,
    derivation: Derivation,
) -> tuple[Path, ...]:
    """PAGE.0001.dcm and so on in an existing folder, one for each RGB picture [H, W, 3], in the patient's study.

    The notice and the windows are in the pixels, hence BurnedInAnnotation. A page has no place in the patient.
    """
    all_of_them = np.concatenate([picture.reshape(1, -1) for picture in pictures], axis=1)
    uid = series_uid("page", all_of_them, source, derivation)
    files = []
    with silenced():
        for place, picture in enumerate(pictures):
            page = _page(source, derivation)
            page.SeriesInstanceUID = uid
            page.SOPInstanceUID = content_uid(uid, str(place))
            page.InstanceNumber = place + 1
            _pixels(page, picture)
            files.append(Path(folder) / f"PAGE.{place + 1:04d}.dcm")
            write_object(page, files[-1])
    return tuple(files)


def _page(source: Series, derivation: Derivation) -> Dataset:
    first = source.headers[0]
    page = composed(first, source, derivation)
    del page.FrameOfReferenceUID
    del page.PositionReferenceIndicator
    page.SOPClassUID = SecondaryCaptureImageStorage
    page.Modality = "OT"
    page.ConversionType = "WSD"
    page.ImageType = ["DERIVED", "SECONDARY"]
    page.SeriesNumber = series_number(first, 5)
    page.SeriesDescription = SYNTHETIC
    page.PatientOrientation = None
    page.BurnedInAnnotation = "YES"
    return page


def _pixels(page: Dataset, picture: NDArray[np.uint8]) -> None:
    page.SamplesPerPixel = 3
    page.PhotometricInterpretation = "RGB"
    page.PlanarConfiguration = 0
    page.Rows, page.Columns = picture.shape[:2]
    page.BitsAllocated = 8
    page.BitsStored = 8
    page.HighBit = 7
    page.PixelRepresentation = 0
    content = picture.tobytes()
    page.PixelData = content + b"\0" * (len(content) % 2)
