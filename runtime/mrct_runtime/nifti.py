"""A volume as NIfTI-1, for scripts: axes (column, row, slice), positions in RAS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrct_runtime.errors import OutputError
from mrct_runtime.volume import FloatArray, Volume

# NIfTI points to the right and front where DICOM points to the left and back.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1


def ras_affine(volume: Volume) -> FloatArray:
    """[4, 4] from (column, row, slice) indices to RAS mm."""
    return np.asarray(LPS_TO_RAS @ volume.grid.affine[:, [2, 1, 0, 3]], dtype=np.float64)


def write_nifti(volume: Volume, path: Path | str) -> None:
    """The volume in float32 (labels keep their type) with both NIfTI transforms set to scanner coordinates in mm."""
    import nibabel

    array = volume.array
    if array.dtype == bool or array.dtype.kind == "f":
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    affine = ras_affine(volume)
    image: Any = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    try:
        nibabel.save(image, Path(path))
    except OSError as error:
        raise OutputError(f"{Path(path).name}: cannot be written ({error.strerror})") from error
