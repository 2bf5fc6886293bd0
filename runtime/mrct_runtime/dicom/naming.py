"""The UIDs of a result's series: a PACS that is sent the same result twice keeps one of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.derived import Derivation
from mrct_runtime.dicom.frames import instance_name
from mrct_runtime.dicom.header import text
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.uids import digest_of, uid_of
from mrct_runtime.scratch import slices


def series_uid(
    kind: str, array: NDArray[Any], source: Series, derivation: Derivation, *more: str
) -> str:
    """The UID of a series made from the source: another voxel, source, model or option, and it is another one.

    When it was made does not count, nor does what a PACS may correct, such as the patient's name.
    """
    first = source.headers[0]
    digest = digest_of(
        kind,
        derivation.identity,
        text(first, "StudyInstanceUID"),
        source.uid,
        source.frame_of_reference_uid,
        *(instance_name(header) for header in source.headers),
        *more,
        str((array.shape, array.dtype.str)),
    )
    digest.update(source.volume.grid.affine.tobytes())
    for image in slices(array):
        digest.update(np.ascontiguousarray(image).data)
    return uid_of(digest)
