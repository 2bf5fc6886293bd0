"""A cheap look at a received file: is it a whole MR image with valid identifiers? No pixel is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from mrct_runtime.dicom.gatekeeper import admit
from mrct_runtime.dicom.header import number, silenced, text
from mrct_runtime.dicom.image_file import READ_FAULTS
from mrct_runtime.dicom.structure import MalformedError

OUT_OF_RESOURCES: Final = 0xA700
OTHER_CLASS: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000

CLASSES: Final = (MRImageStorage, EnhancedMRImageStorage)
_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
# No lossy one, though they could be read: a peer that is offered one might compress for it.
_COMPRESSED: Final = (
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
)
_IDENTIFIERS: Final = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXELS: Final = (0x7FE0, 0x0010)
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED: Final = 0xFFFFFFFF


class RefusedInstanceError(Exception):
    """An instance that is not taken: the C-STORE status, and why, in words that may stand in a log."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Instance:
    """Where an instance belongs."""

    study_uid: str
    instance_uid: str


def transfer_syntaxes() -> tuple[UID, ...]:
    """Those whose pixels can be read here: the compressed ones need pydicom's plugins."""
    from pydicom.pixels.decoders.base import get_decoder

    readable = (syntax for syntax in _COMPRESSED if get_decoder(syntax).is_available)
    return (*_UNCOMPRESSED, *readable)


def examined(path: Path, class_uid: str, instance_uid: str) -> Instance:
    """What the file says of itself; RefusedInstanceError unless it is what was announced, and whole."""
    with silenced(), path.open("rb") as file:
        try:
            admit(path)
            header = dcmread(file, stop_before_pixels=True)
            found = {keyword: text(header, keyword) for keyword in ("SOPClassUID", *_IDENTIFIERS)}
            whole = _whole(file, header, path.stat().st_size)
        except MalformedError as barred:
            raise RefusedInstanceError(NOT_UNDERSTOOD, str(barred)) from barred
        except READ_FAULTS as error:
            raise RefusedInstanceError(NOT_UNDERSTOOD, "not readable") from error
    if found["SOPClassUID"] != class_uid or class_uid not in CLASSES:
        raise RefusedInstanceError(OTHER_CLASS, "of another SOP class")
    for keyword in _IDENTIFIERS:
        if not UID(found[keyword]).is_valid:
            raise RefusedInstanceError(NOT_UNDERSTOOD, f"{keyword} is no UID")
    if found["SOPInstanceUID"] != instance_uid:
        raise RefusedInstanceError(OTHER_CLASS, "not the instance that was announced")
    if not whole:
        raise RefusedInstanceError(NOT_UNDERSTOOD, "truncated")
    return Instance(found["StudyInstanceUID"], instance_uid)


def _whole(file: BinaryIO, header: Dataset, size: int) -> bool:
    """True if the pixel data, at which the file stands, are all there."""
    syntax = UID(header.file_meta.TransferSyntaxUID)
    order = "<" if syntax.is_little_endian else ">"
    tag, length = _element(file, order, explicit=not syntax.is_implicit_VR)
    if tag != _PIXELS:
        return False
    if length == _UNDEFINED:
        return _fragments_end(file, size)
    return _expected(header) <= length <= size - file.tell()


def _element(file: BinaryIO, order: str, *, explicit: bool) -> tuple[tuple[int, int], int]:
    """Tag and length of the element at which the file stands; it stands at its value after that."""
    group, element = struct.unpack(f"{order}HH", file.read(4))
    if explicit:
        file.read(4)  # OB and OW have a length of four bytes after two reserved ones
    (length,) = struct.unpack(f"{order}I", file.read(4))
    return (group, element), length


def _expected(header: Dataset) -> int:
    """Bytes of uncompressed pixels; of a header without their size more than any file has."""
    sizes = [number(header, keyword) for keyword in ("Rows", "Columns", "BitsAllocated")]
    frames = number(header, "NumberOfFrames") or 1
    samples = number(header, "SamplesPerPixel") or 1
    product = frames * samples / 8
    for size in sizes:
        product *= size or float("inf")
    return int(min(product, 1 << 62))


def _fragments_end(file: BinaryIO, size: int) -> bool:
    """True if the fragments of compressed pixels are followed by their end."""
    while True:
        tag, length = _element(file, "<", explicit=False)
        if tag != _ITEM:
            return tag == _END
        if length > size - file.tell():
            return False
        file.seek(length, 1)
