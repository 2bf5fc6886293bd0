"""What lies in a folder: classic single-frame MR and CT images, grouped into candidates for one volume each."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
)

from mrct_runtime.dicom.header import number, numbers, silenced, text
from mrct_runtime.errors import NoInputError

# Two images whose direction cosines differ by less are one orientation; real headers carry 6 digits at least.
SAME_DIRECTION = 1e-3
# Larger matrices are no MR or CT, but a claim that would fill the memory.
MAX_PIXELS = 4096 * 4096

UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
SINGLE_FRAME = frozenset({MRImageStorage, CTImageStorage})
MULTI_FRAME = frozenset({EnhancedMRImageStorage, EnhancedCTImageStorage})

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


@dataclass(frozen=True, eq=False)
class SeriesGroup:
    """Images of one series that share orientation, matrix, pixel spacing and echo; headers without pixels."""

    uid: str
    number: int | None
    description: str
    modality: str
    headers: tuple[Dataset, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        shown = "without a number" if self.number is None else str(self.number)
        return f"series {shown} '{self.description}'"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector [3] in LPS perpendicular to the slices, row direction x column direction."""
        return normal_of(self.headers[0])

    @property
    def plane(self) -> str:
        """axial, coronal or sagittal, whichever the slices are nearest to."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]

    @property
    def tilt_deg(self) -> float:
        """Angle between the slices and the plane that they are nearest to, degrees."""
        return float(np.degrees(np.arccos(min(1.0, np.abs(self.normal).max()))))


@dataclass(frozen=True, eq=False)
class Scan:
    """All that a folder holds of MR and CT."""

    groups: tuple[SeriesGroup, ...]
    unusable: tuple[Unusable, ...]


def scan(folder: Path | str) -> Scan:
    """The MR and CT series under a folder, by headers alone; files that are not DICOM are passed over."""
    root = Path(folder)
    if not root.is_dir():
        raise NoInputError(f"{root.name or root}: no such folder; name the folder of a DICOM study")
    unusable: list[Unusable] = []
    images: list[tuple[Path, Dataset]] = []
    seen: set[str] = set()
    count = 0
    with silenced():
        for path in dicom_files(root):
            count += 1
            found = _image(path)
            if isinstance(found, Unusable):
                unusable.append(found)
            elif found is not None and text(found, "SOPInstanceUID") not in seen:
                # The same instance twice is a copy of the file, not a second slice.
                seen.add(text(found, "SOPInstanceUID"))
                images.append((path, found))
        if count == 0:
            raise NoInputError(
                f"{root.name or root}: no DICOM files; name the folder of a DICOM study"
            )
        return Scan(tuple(_grouped(images)), tuple(unusable))


def normal_of(header: Dataset) -> NDArray[np.float64]:
    """Unit vector [3] in LPS, row direction x column direction of one image."""
    cosines = np.asarray(numbers(header, "ImageOrientationPatient", 6))
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def dicom_files(root: Path, *, deep: bool = True) -> Iterator[Path]:
    """Files with DICOM's prefix, and files that have it by their name alone: those were cut or overwritten."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(folders) if deep else []
        paths = [Path(folder, name) for name in sorted(names)]
        whole = {path for path in paths if _has_prefix(path)}
        series = {_pattern(path.name) for path in whole}
        for path in paths:
            if path in whole or _pattern(path.name) in series or _is_named_dicom(path):
                yield path


def _has_prefix(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _pattern(name: str) -> str:
    """The name with every number as 0: IM12 and IM7 are slices of one series, README is not."""
    return re.sub(r"[0-9]+", "0", name)


def _is_named_dicom(path: Path) -> bool:
    # macOS leaves ._name.dcm beside name.dcm on foreign disks.
    return path.suffix.lower() == ".dcm" and not path.name.startswith("._")


def _image(path: Path) -> Dataset | Unusable | None:
    """The header of a usable image, the reason why it is none, or None for what is neither MR nor CT."""
    damaged = Unusable(path.name, "", "damaged, its header cannot be read")
    try:
        meta = read_file_meta_info(path)
    except READ_FAULTS:
        return damaged
    # What is no image is not parsed at all; reports and raw data can be large or deeply nested.
    kind = str(meta.get("MediaStorageSOPClassUID", ""))
    if kind and kind not in MULTI_FRAME | SINGLE_FRAME:
        return None
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        # Inflating happens before any limit could be checked, and a small file can hold gigabytes.
        return Unusable(path.name, "", "deflated; store it uncompressed")
    try:
        header = dcmread(path, stop_before_pixels=True)
    except READ_FAULTS:
        return damaged
    kind = text(header, "SOPClassUID") or kind
    if not kind:
        return damaged
    if kind in MULTI_FRAME:
        reason = "enhanced (multi-frame); convert the study to classic single-frame DICOM"
        return Unusable(path.name, text(header, "SeriesInstanceUID"), reason)
    if kind not in SINGLE_FRAME:
        return None
    fault = _fault(header)
    if not fault:
        return header
    # An invalid UID names no series, so the file may belong to any.
    uid = UID(text(header, "SeriesInstanceUID"))
    return Unusable(path.name, uid if uid.is_valid else "", fault)


def _fault(header: Dataset) -> str:
    """Why an image header cannot give a slice; empty where it can."""
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
    absent = [keyword for keyword in (*needed, "Rows", "Columns") if not text(header, keyword)]
    if absent:
        return f"damaged, it lacks {', '.join(absent)}"
    uids = {keyword: text(header, keyword) for keyword in UIDS}
    invalid = [keyword for keyword, uid in uids.items() if uid and not UID(uid).is_valid]
    if invalid:
        return f"with a {' and '.join(invalid)} that is no UID"
    if (number(header, "NumberOfFrames") or 1) > 1:
        return "multi-frame; convert the study to classic single-frame DICOM"
    rows, columns = text(header, "Rows"), text(header, "Columns")
    if not all(re.fullmatch("[0-9]{1,5}", count) for count in (rows, columns)):
        return "with Rows or Columns that are not one whole number"
    if not 0 < int(rows) * int(columns) <= MAX_PIXELS:
        return f"{rows} x {columns} pixels and so no MR or CT"
    if (number(header, "SamplesPerPixel") or 1) != 1:
        return "a colour picture"
    spacing = numbers(header, "PixelSpacing", 2)
    cosines = numbers(header, "ImageOrientationPatient", 6)
    if spacing is None or cosines is None or not numbers(header, "ImagePositionPatient", 3):
        return "without position, orientation or pixel spacing"
    row, column = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    lengths = (np.linalg.norm(row), np.linalg.norm(column))
    if min(spacing) <= 0 or not np.allclose(lengths, 1, atol=0.01) or abs(row @ column) > 0.01:
        return "with a pixel spacing or orientation that is none"
    return ""


def _grouped(images: Iterable[tuple[Path, Dataset]]) -> list[SeriesGroup]:
    """Groups in the order of their series numbers."""
    groups: dict[tuple[str, ...], list[tuple[NDArray[np.float64], list[tuple[Path, Dataset]]]]] = {}
    for path, header in images:
        orientation = np.asarray(numbers(header, "ImageOrientationPatient", 6))
        # Compared, not rounded: rounding tears apart what lies on two sides of an edge.
        same_frame = groups.setdefault(_key(header), [])
        for other, members in same_frame:
            if np.abs(orientation - other).max() < SAME_DIRECTION:
                members.append((path, header))
                break
        else:
            same_frame.append((orientation, [(path, header)]))
    found = [_group(members) for same_frame in groups.values() for _, members in same_frame]
    return sorted(found, key=lambda g: (g.number is None, g.number or 0, g.uid))


def _key(header: Dataset) -> tuple[str, ...]:
    exact = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "EchoNumbers")
    measured = (*(numbers(header, "PixelSpacing", 2) or ()), number(header, "EchoTime") or 0.0)
    return (*(text(header, keyword) for keyword in exact), *(f"{value:.3f}" for value in measured))


def _group(members: list[tuple[Path, Dataset]]) -> SeriesGroup:
    first = members[0][1]
    series_number = number(first, "SeriesNumber")
    return SeriesGroup(
        uid=text(first, "SeriesInstanceUID"),
        number=None if series_number is None else int(series_number),
        description=text(first, "SeriesDescription"),
        modality=text(first, "Modality"),
        headers=tuple(header for _, header in members),
        files=tuple(path for path, _ in members),
    )
