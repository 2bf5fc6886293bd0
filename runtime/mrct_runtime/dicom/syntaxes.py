"""The transfer syntaxes that are read, and what decodes the pixels of each; a file in any other is not opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from pydicom.config import IGNORE
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

Decoder: TypeAlias = Literal["native", "rle", "codecs"]
"""Plain values, run lengths (which need no package), or the packages of the extra `codecs`."""


@dataclass(frozen=True)
class Syntax:
    """How a data set's elements are written, and what its pixels need."""

    decoder: Decoder
    explicit: bool = True
    little_endian: bool = True


_CODECS: Final = (
    *(JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1),
    *(JPEGLSLossless, JPEGLSNearLossless),
    *(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
)

SYNTAXES: Final[Mapping[str, Syntax]] = MappingProxyType(
    {
        ImplicitVRLittleEndian: Syntax("native", explicit=False),
        ExplicitVRLittleEndian: Syntax("native"),
        ExplicitVRBigEndian: Syntax("native", little_endian=False),
        RLELossless: Syntax("rle"),
        **dict.fromkeys(_CODECS, Syntax("codecs")),
    }
)


def why_not_read(uid: str) -> str:
    """Why a file in this transfer syntax is not read, as what the file is; empty where it is one of SYNTAXES."""
    if uid in SYNTAXES:
        return ""
    if not uid:
        return "damaged, it does not tell its transfer syntax"
    if uid == DeflatedExplicitVRLittleEndian:
        # Inflating happens before any limit could be checked, and a small file can hold gigabytes.
        return "deflated; store it uncompressed"
    shown = registered_name(uid) or "an unknown one"
    return (
        f"in a transfer syntax that is none that can be decoded ({shown}); export it uncompressed"
    )


def registered_name(uid: str) -> str:
    """What DICOM calls a UID; empty where it does not know it, for that may say anything, and a patient's name."""
    # a check of the text would tell the world of a wrong one
    known = UID(uid, validation_mode=IGNORE)
    return known.name if known.name != uid else ""
