"""One DICOM file: the MR or CT images in it, classic or frames, or why it gives none."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, CTImageStorage, MRImageStorage

from mrct_runtime.dicom.frames import MULTI_FRAME, frame_count, frame_headers
from mrct_runtime.dicom.gatekeeper import Admission, admit
from mrct_runtime.dicom.header import number, numbers, text
from mrct_runtime.dicom.structure import MalformedError
from mrct_runtime.dicom.syntaxes import registered_name
from mrct_runtime.volume import MAX_VOXELS

# Larger matrices are no MR or CT, but a claim that would fill the memory.
MAX_PIXELS = 4096 * 4096

_BITS = frozenset({8, 16, 32})

# Its lowest value is white: what is dark in the signal would be taken for bright.
_NEGATIVE = "MONOCHROME1"

UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
SINGLE_FRAME = frozenset({MRImageStorage, CTImageStorage})

READ_FAULTS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    struct.error,
)


@dataclass(frozen=True)
class Unusable:
    """An MR or CT file that cannot be a slice: its file name, its series if that could be read, and why."""

    name: str
    series_uid: str
    reason: str


@dataclass(frozen=True)
class NoImage:
    """A DICOM object that is neither MR nor CT: what its class is called."""

    kind: str


def images_in(path: Path) -> list[Dataset] | Unusable | NoImage:
    """The headers of a file's images, one of a classic image and one a frame else, without pixels."""
    kinds = MULTI_FRAME | SINGLE_FRAME
    try:
        admission = admit(path, kinds)
        if admission.outline is None:
            return NoImage(_named(admission.kind))
        header = dcmread(path, stop_before_pixels=True)
        kind = text(header, "SOPClassUID") or admission.kind
        if kind and kind not in kinds:
            return NoImage(_named(kind))
        return _checked(path, header, _lost_pixels(header, admission))
    except MalformedError as barred:
        return Unusable(path.name, "", str(barred))
    except READ_FAULTS:
        return Unusable(path.name, "", "damaged, its header cannot be read")


def _named(kind: str) -> str:
    """The name of a SOP class; what is no registered one may say anything, and is not repeated."""
    return registered_name(kind) or "object of an unknown class"


def _checked(path: Path, header: Dataset, lost: str) -> list[Dataset] | Unusable:
    images, fault = _images(header)
    faults = [fault or _misplaced(image) or lost for image in images]
    for place, found in enumerate(faults, start=1):
        if found:
            where = f" in frame {place}" if len(images) > 1 and found != lost else ""
            # An invalid UID names no series, so the file may belong to any.
            uid = UID(text(header, "SeriesInstanceUID"))
            return Unusable(path.name, uid if uid.is_valid else "", found + where)
    return images


def _images(header: Dataset) -> tuple[list[Dataset], str]:
    """The header of each image, at least one, and what is wrong with all of them."""
    if fault := _fault(header):
        return [header], fault
    if text(header, "SOPClassUID") in MULTI_FRAME:
        frames = frame_headers(header)
        return frames or [header], "" if frames else "damaged, its frames are not described"
    # the number of a frame, which no classic image has
    header.pop("ReferencedFrameNumber", None)
    return [header], ""


def _fault(header: Dataset) -> str:
    """Why an image header cannot give slices, wherever they lie; empty where it can."""
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
    sizes = ("Rows", "Columns", "BitsAllocated")
    absent = [keyword for keyword in (*needed, *sizes) if not text(header, keyword)]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return f"damaged, it lacks {absent[0]}{more}"
    uids = {keyword: text(header, keyword) for keyword in UIDS}
    invalid = [keyword for keyword, uid in uids.items() if uid and not UID(uid).is_valid]
    if invalid:
        return f"with a {' and '.join(invalid)} that is no UID"
    classic = text(header, "SOPClassUID") in SINGLE_FRAME
    if classic and frame_count(header) > 1:
        return "of a classic class and yet multi-frame; export the series again"
    rows, columns = text(header, "Rows"), text(header, "Columns")
    if not all(re.fullmatch("[0-9]{1,5}", count) for count in (rows, columns)):
        return "with Rows or Columns that are not one whole number"
    if not 0 < int(rows) * int(columns) <= MAX_PIXELS:
        return f"{rows} x {columns} pixels and so no MR or CT"
    if not classic and int(rows) * int(columns) * frame_count(header) > MAX_VOXELS:
        return f"{frame_count(header)} frames of {rows} x {columns} pixels, more than can be held"
    if number(header, "BitsAllocated") not in _BITS:
        return f"of {text(header, 'BitsAllocated')} bits a pixel, not of 8, 16 or 32"
    if (number(header, "SamplesPerPixel") or 1) != 1:
        return "a colour picture"
    if text(header, "Modality") == "MR" and text(header, "PhotometricInterpretation") == _NEGATIVE:
        return "a negative (MONOCHROME1); export it as MONOCHROME2"
    return ""


def _lost_pixels(header: Dataset, admission: Admission) -> str:
    """Why not all pixels that a header tells of are in the file; empty where they are, or are compressed."""
    found = admission.outline and admission.outline.pixels
    if not found:
        return "damaged, it has no pixels"
    if admission.syntax is None or admission.syntax.decoder != "native":
        return ""
    place, length = found
    sizes = [number(header, keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated")]
    needed = int(math.prod(sizes)) * max(1, frame_count(header)) // 8
    held = min(length, admission.size - place)
    return f"truncated, it has {held} of {needed} bytes of pixels" if held < needed else ""


def _misplaced(header: Dataset) -> str:
    """Why an image, or a frame of it, lies nowhere; empty where it does."""
    spacing = numbers(header, "PixelSpacing", 2)
    cosines = numbers(header, "ImageOrientationPatient", 6)
    if spacing is None or cosines is None or not numbers(header, "ImagePositionPatient", 3):
        return "without position, orientation or pixel spacing"
    row, column = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    lengths = (np.linalg.norm(row), np.linalg.norm(column))
    if min(spacing) <= 0 or not np.allclose(lengths, 1, atol=0.01) or abs(row @ column) > 0.01:
        return "with a pixel spacing or orientation that is none"
    return ""
