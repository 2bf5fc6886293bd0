"""A volume as NIfTI: axes (column, row, slice), positions in RAS."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from mrct_runtime.errors import InputRejectedError, OutputError
from mrct_runtime.opened_nifti import opened_nifti
from mrct_runtime.scratch import slices
from mrct_runtime.volume import SAME_GRID_MM, FloatArray, Grid, Volume

# NIfTI points to the right and front where DICOM points to the left and back.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1

_FAULTS: Final = (OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, zlib.error)


def ras_affine(volume: Volume) -> FloatArray:
    """[4, 4] from (column, row, slice) indices to RAS mm."""
    return np.asarray(LPS_TO_RAS @ volume.grid.affine[:, [2, 1, 0, 3]], dtype=np.float64)


def write_nifti(volume: Volume, path: Path | str, notice: str = "") -> None:
    """The volume in float32 (labels keep their type) with both NIfTI transforms set to scanner coordinates in mm.

    `notice` is the header's description, at most 79 characters of ASCII.
    """
    import nibabel
    from nibabel.openers import ImageOpener

    stored: dict[str, np.dtype[Any]] = {"b": np.dtype(np.uint8), "f": np.dtype(np.float32)}
    kind = stored.get(volume.array.dtype.kind, volume.array.dtype)
    affine = ras_affine(volume)
    # one voxel for all: nibabel makes the header, and is not given an array that it would have in memory at once
    voxels = np.broadcast_to(np.zeros((), kind), volume.array.shape[::-1])
    image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    image.header["descrip"] = notice
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    try:
        with ImageOpener(str(path), "wb") as file:
            image.header.write_to(file)
            file.write(bytes(image.header.get_data_offset() - file.tell()))
            for part in slices(volume.array):
                file.write(part.astype(kind, copy=False).tobytes())
    except OSError as error:
        raise OutputError(f"{Path(path).name}: cannot be written ({error.strerror})") from error


def read_nifti(path: Path) -> Volume:
    """The file's volume in float32, scaled as its header says; axes (slice, row, column) are the file's (k, j, i)."""
    with _readable(path), opened_nifti(path) as (image, stream):
        shape, units, affine = image.shape, image.header.get_xyzt_units()[0], image.affine
        if len(shape) < 3 or set(shape[3:]) - {1}:
            raise InputRejectedError(f"{path.name} has the shape {shape}; one volume is needed")
        if units not in {"mm", "unknown"}:
            raise InputRejectedError(f"{path.name} is measured in {units}; millimetres are needed")
        array = image.get_fdata(dtype=np.float32, caching="unchanged")
        # behind the last byte stands the checksum of all
        if stream is not None and stream.read(1):
            raise InputRejectedError(
                f"{path.name} holds more than its header says, {shape} voxels; export it again"
            )
    array = np.ascontiguousarray(array.reshape(shape[:3]).transpose(2, 1, 0))
    return Volume(array, Grid(LPS_TO_RAS @ affine[:, [2, 1, 0, 3]], array.shape))


def doubts(path: Path) -> Iterator[str]:
    """What is to be told of where the file's volume lies: nowhere, or in two places."""
    with _readable(path), opened_nifti(path) as (image, _):
        header = image.header
    try:
        (sform, sform_code), (qform, qform_code) = (
            header.get_sform(coded=True),
            header.get_qform(coded=True),
        )
    except ValueError as error:
        raise InputRejectedError(
            f"{path.name}: its qform is no rotation; export it again"
        ) from error
    if not sform_code and not qform_code:
        yield "the NIfTI file does not say where its volume lies: left and right may be swapped"
    elif sform_code and qform_code:
        shape = header.get_data_shape()[:3]
        apart_mm = Grid(sform, shape).apart_mm(Grid(qform, shape))
        if apart_mm > SAME_GRID_MM:
            yield f"the NIfTI file's two transforms are {apart_mm:.2g} mm apart; its sform was taken"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A scope in which what nibabel and the inflating raise says that the file cannot be read."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        yield
    except (*_FAULTS, ImageFileError, HeaderDataError, WrapStructError) as error:
        raise InputRejectedError(f"{path.name} cannot be read as NIfTI; export it again") from error
