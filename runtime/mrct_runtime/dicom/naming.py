"""UIDs made of what they name: a PACS that is sent the same result twice keeps one of it."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.derived import Derivation
from mrct_runtime.dicom.header import text
from mrct_runtime.dicom.reading import Series


def content_uid(*parts: str) -> str:
    """2.25 and the number of a UUID made of the parts' SHA-256 (RFC 9562, version 8), the same for the same parts.

    pydicom's own takes parts into account only below a root that belongs to somebody.
    """
    return _uid(_digest(*parts))


def series_uid(
    kind: str, array: NDArray[Any], source: Series, derivation: Derivation, *more: str
) -> str:
    """The UID of a series made from the source: another voxel, source, model or option, and it is another one.

    When it was made does not count, nor does what a PACS may correct, such as the patient's name.
    """
    first = source.headers[0]
    digest = _digest(
        kind,
        derivation.identity,
        text(first, "StudyInstanceUID"),
        source.uid,
        source.frame_of_reference_uid,
        *(text(header, "SOPInstanceUID") for header in source.headers),
        *more,
        str((array.shape, array.dtype.str)),
    )
    digest.update(source.volume.grid.affine.tobytes())
    for image in array:
        digest.update(np.ascontiguousarray(image).data)
    return _uid(digest)


def _digest(*parts: str) -> hashlib._Hash:
    """SHA-256 of the parts, each after its length, so that no two lists of parts are one text."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest


def _uid(digest: hashlib._Hash) -> str:
    number = int.from_bytes(digest.digest()[:16], "big")
    # the bits that say which version and variant of UUID it is
    number = number & ~(0xF << 76) | (8 << 76)
    number = number & ~(0b11 << 62) | (0b10 << 62)
    return f"2.25.{uuid.UUID(int=number).int}"
