"""The size that a compressed image claims for itself, which decoders allocate whatever the DICOM header says."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.encaps import generate_frames

from mrct_runtime.dicom.frames import frame_count
from mrct_runtime.dicom.gatekeeper import syntax_of
from mrct_runtime.dicom.syntaxes import SYNTAXES

_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_JP2, _IN_JP2 = b"\x00\x00\x00\x0cjP  ", b"jp2c"
# Start of frame: of JPEG (T.81, table B.1; C4, C8 and CC are other markers), and of JPEG-LS (T.87, C.1.1).
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7})


def check_sizes(path: Path, frames: Collection[int], rows: int, columns: int) -> None:
    """ValueError where a compressed frame, counted from 0, claims another size: a kilobyte can hold gigabytes of zeros."""
    # run lengths claim no size
    if SYNTAXES[syntax_of(path)].decoder != "codecs":
        return
    image = dcmread(path, specific_tags=["NumberOfFrames", "PixelData"])
    stored = generate_frames(image.PixelData, number_of_frames=max(1, frame_count(image)))
    for k, frame in enumerate(stored):
        if k in frames and image_size(frame) != (rows, columns, 1):
            raise ValueError(f"frame {k + 1} is not of {rows} x {columns} grey pixels")


def image_size(stream: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) of a JPEG, JPEG-LS or JPEG 2000 image, also in a JP2 file; None where it tells none."""
    if stream.startswith(_JPEG):
        return _jpeg_size(stream)
    if stream.startswith(_JP2):
        stream = _codestream(stream)
    if not stream.startswith(_JPEG_2000) or len(stream) < 42:
        return None
    # T.800, A.5.1: the extent of the grid, then the image's offset in it, and later the number of components
    right, bottom, left, top = (_number(stream, at, 4) for at in (8, 12, 16, 20))
    return bottom - top, right - left, _number(stream, 40, 2)


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _START_OF_FRAME:
            return _number(stream, at + 5, 2), _number(stream, at + 7, 2), stream[at + 9]
        # a marker may be preceded by any number of FF
        at += 1 if marker == 0xFF else 2 + _number(stream, at + 2, 2)
    return None


def _codestream(stream: bytes) -> bytes:
    """What the box jp2c of a JP2 file holds (T.800, I.4); empty where there is none."""
    at = 0
    while at + 8 <= len(stream):
        length = _number(stream, at, 4)
        if stream[at + 4 : at + 8] == _IN_JP2:
            return stream[at + (16 if length == 1 else 8) :]
        if length < 8:
            break
        at += length
    return b""


def _number(stream: bytes, at: int, count: int) -> int:
    return int.from_bytes(stream[at : at + count])
