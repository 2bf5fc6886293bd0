"""The true CT of a study, that a synthetic one is held against: found in a folder, and brought to the MR's grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import text
from mrct_runtime.dicom.reading import Series, read_series
from mrct_runtime.dicom.scanning import scan
from mrct_runtime.errors import InputRejectedError, SeriesError
from mrct_runtime.intensity import AIR_HU
from mrct_runtime.volume import SAME_GRID_MM, Volume
from mrct_runtime.volume_files import READERS, ending


@dataclass(frozen=True, eq=False)
class Reference:
    """HU [S, H, W] on the MR's own grid, where they are shown there, and whether they had to be resampled.

    `doubts` are warnings: whether it is a CT of this patient cannot be seen from its voxels.
    """

    hu: NDArray[Any]
    shown: NDArray[np.bool_]
    resampled: bool
    doubts: tuple[str, ...] = ()


def read_reference(folder: Path | str, mr: Series) -> Reference:
    """The folder's one CT in the MR's frame of reference, or on its grid, or the volume of a NIfTI or MetaImage file.

    Of a file its positions are taken to be the MR's. InputRejectedError where nothing fits.
    """
    path = Path(folder)
    if (kind := ending(path.name)) and path.is_file():
        doubt = "the reference is a volume's file, which does not say whose CT it is"
        return replace(_on_grid(READERS[kind](path), mr), doubts=(doubt,))
    found = scan(folder)
    cts = [group for group in found.groups if _may_be(group)]
    if not cts:
        held = ", ".join(sorted({group.modality for group in found.groups})) or "no image series"
        raise InputRejectedError(f"no true CT series in the reference folder ({held})")
    series = _fitting(cts, mr)
    lost = [each for each in found.unusable if each.series_uid in {"", series.uid}]
    if lost:
        raise InputRejectedError(
            f"{len(lost)} image files of the reference CT cannot be used, the first is {lost[0].reason}; repair or take out"
        )
    return replace(_on_grid(series.volume, mr), doubts=tuple(_doubts(series, mr)))


def _doubts(ct: Series, mr: Series) -> Iterator[str]:
    ids = {text(header, "PatientID") for series in (ct, mr) for header in series.headers[:1]}
    if len(ids - {""}) > 1:
        yield "the reference CT has another PatientID than the MR: is it of the same patient?"


def _fitting(cts: list[SeriesGroup], mr: Series) -> Series:
    frame = mr.frame_of_reference_uid
    shared = [g for g in cts if frame and text(g.headers[0], "FrameOfReferenceUID") == frame]
    read = [read_series(group) for group in shared or cts]
    on_grid = [ct for ct in read if _is_on_grid(ct.volume, mr)]
    fitting = on_grid or (read if shared else [])
    if not fitting:
        raise SeriesError(
            f"none of the {len(cts)} CT series of the reference shares the MR's frame of reference or lies on its grid; "
            "register the CT to the MR first"
        )
    if len(fitting) > 1:
        raise SeriesError(
            f"{len(fitting)} CT series of the reference fit the MR; leave one alone in the folder"
        )
    return fitting[0]


def _may_be(group: SeriesGroup) -> bool:
    header = group.headers[0]
    return (
        group.modality == "CT"
        and text(header, "SyntheticData") != "YES"
        and "LOCALIZER" not in text(header, "ImageType").upper()
    )


def _is_on_grid(ct: Volume, mr: Series) -> bool:
    return ct.grid.canonical().matches(mr.volume.grid.canonical(), tolerance_mm=SAME_GRID_MM)


def _on_grid(ct: Volume, mr: Series) -> Reference:
    grid = mr.volume.grid
    if _is_on_grid(ct, mr):
        array = np.empty(grid.shape, ct.array.dtype)
        grid.canonically(array)[...] = ct.grid.canonically(ct.array)
        return Reference(array, np.ones(grid.shape, bool), resampled=False)
    hu = ct.resample(grid, fill=AIR_HU).array
    ones = Volume(np.ones(ct.grid.shape, np.uint8), ct.grid)
    shown = ones.resample(grid, fill=0, order=0).array == 1
    return Reference(hu, shown, resampled=True)
