"""What is translated: the MR series of a DICOM study, or one volume in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from mrct_runtime import nifti
from mrct_runtime.dicom.reading import Series, read_study
from mrct_runtime.digests import array_sha256
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.scratch import IN_MEMORY, Scratch, slices
from mrct_runtime.volume import Grid, Volume
from mrct_runtime.volume_files import READERS, ending

# The cosine between two axes of a scanner's volume; headers carry rounded decimals.
_PERPENDICULAR: Final = 1e-3


def read_source(
    path: Path | str, *, series: str | None = None, scratch: Scratch = IN_MEMORY
) -> Series:
    """The study's axial T2w series (`read_study`), or the volume of a NIfTI or MetaImage file, which is read whole."""
    path = Path(path)
    found = ending(path.name)
    if not found and path.is_file():
        raise NoInputError(
            f"{path.name}: a file, and none of {', '.join(READERS)}: name one of these or the folder of a DICOM study"
        )
    if not found or path.is_dir():
        return read_study(path, series=series, scratch=scratch)
    if series is not None:
        raise UsageError(f"a {found} file holds one volume: leave --series out")
    return _of_file(path, found)


def _of_file(path: Path, kind: str) -> Series:
    """A series without headers: of patient, study and frame of reference such a file knows nothing."""
    named = f"a {kind} file"
    if not path.is_file():
        raise NoInputError(f"no such file ({named}); name a volume or the folder of a DICOM study")
    volume = _as_scanned(READERS[kind](path))
    if not all(np.isfinite(image).all() for image in slices(volume.array)):
        raise InputRejectedError(f"{named} has voxels that are no numbers; export it again")
    _check_perpendicular(volume.grid, named)
    return Series(
        uid=_digest(volume),
        number=None,
        description="",
        modality="MR",
        headers=(),
        volume=volume,
        frame_of_reference_uid="",
        reason=f"{named}, taken to be an axial T2-weighted MR: it does not say what it shows",
        notes=tuple(nifti.doubts(path)) if kind.startswith(".nii") else (),
        volumes=".mha" if READERS[kind] is READERS[".mha"] else ".nii.gz",
    )


def _as_scanned(volume: Volume) -> Volume:
    return Volume(np.ascontiguousarray(volume.array, np.float32), volume.grid)


def _digest(volume: Volume) -> str:
    """sha256 of voxels and affine, the same for .nii and .nii.gz."""
    return array_sha256(volume.array, volume.grid.affine.tobytes())


def _check_perpendicular(grid: Grid, named: str) -> None:
    """InputRejectedError where the axes are skew: a resampled or gantry-tilted volume."""
    cosines = np.abs(grid.directions.T @ grid.directions - np.eye(3))
    if cosines.max() > _PERPENDICULAR:
        degrees = np.degrees(np.arcsin(min(1.0, float(cosines.max()))))
        raise InputRejectedError(
            f"{named} has axes that are {degrees:.1f} degrees off a right angle; resample it to a straight grid"
        )
