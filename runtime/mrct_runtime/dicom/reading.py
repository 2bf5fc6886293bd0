"""A study folder in, a checked series out: headers of everything first, pixels of the chosen series alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from mrct_runtime.dicom.geometry import stacked
from mrct_runtime.dicom.header import number, silenced, text
from mrct_runtime.dicom.scanning import READ_FAULTS, Scan, SeriesGroup, scan
from mrct_runtime.dicom.selection import choose_mr
from mrct_runtime.errors import InputRejectedError, SeriesError
from mrct_runtime.volume import SAME_GRID_MM, Grid, Volume


@dataclass(frozen=True, eq=False)
class Series:
    """One series as a volume: headers without pixels, one a slice, in the volume's order along the slice normal.

    The headers keep the source's geometry as its exact strings. reason says why the series was chosen,
    notes what had to be mended. A volume out of another file has no headers. `volumes` is the ending of the files in
    which a volume made from it is written beside DICOM.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    headers: tuple[Dataset, ...]
    volume: Volume
    frame_of_reference_uid: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    volumes: str = ".nii.gz"

    def __str__(self) -> str:
        shown = "without a number" if self.number is None else str(self.number)
        return f"series {shown} '{self.description}'"


def read_study(folder: Path | str, *, series: str | None = None) -> Series:
    """The study's axial T2w MR series, or the one named by UID or number, float32 in the scanner's rescaled units."""
    found = scan(folder)
    return _read_mr(found, series)


def read_pair(folder: Path | str) -> tuple[Series, Series]:
    """(MR, CT) of a training subject: the axial T2w MR and the one CT on its grid, sharing its frame of reference.

    Of several such CT series the one that is called deformed is taken: it was registered to this MR, as Gold Atlas's
    "Deformed 'CT 1' using CTtoMR DIR" was.
    """
    found = scan(folder)
    mr = _read_mr(found, None, "leave one alone in the folder")
    chosen = _choose_ct(found.groups, mr)
    _refuse_damaged(found, chosen)
    ct = read_series(chosen)
    if not ct.volume.grid.matches(mr.volume.grid, tolerance_mm=SAME_GRID_MM):
        raise SeriesError(
            f"{ct}: its grid ({ct.volume.grid}) is not that of {mr} ({mr.volume.grid}), voxels are up to "
            f"{ct.volume.grid.apart_mm(mr.volume.grid):.2g} mm apart; "
            "resample the CT to the MR's slices and pixels first"
        )
    return mr, ct


def read_series(group: SeriesGroup) -> Series:
    """The group as a volume, slices in order along the normal; irregular geometry or unreadable pixels are refused."""
    order, grid = stacked(group)
    array = np.empty(grid.shape, dtype=np.float32)
    with silenced():
        for place, index in enumerate(order):
            array[place] = _pixels(group, index)
    frames = {text(header, "FrameOfReferenceUID") for header in group.headers}
    if len(frames) > 1:
        raise SeriesError(
            f"{group}: {len(frames)} frames of reference in one series; export one alone"
        )
    frame = frames.pop()
    notes = () if frame else ("the series has no FrameOfReferenceUID; a new one was made",)
    return Series(
        uid=group.uid,
        number=group.number,
        description=group.description,
        modality=group.modality,
        headers=tuple(group.headers[i] for i in order),
        volume=Volume(array, grid),
        frame_of_reference_uid=frame or str(generate_uid(prefix=None)),
        notes=notes,
    )


def _read_mr(found: Scan, series: str | None, advice: str = "name one with --series") -> Series:
    if not found.groups and found.unusable:
        _refuse_damaged(found, None)
    choice = choose_mr(found.groups, series, advice=advice)
    _refuse_damaged(found, choice.group)
    return replace(read_series(choice.group), reason=f"{choice.group}: {choice.reason}")


def _refuse_damaged(found: Scan, group: SeriesGroup | None) -> None:
    """Refuses where an unusable file belongs to the group, or may: a lost last slice leaves no gap to notice."""
    lost = [u for u in found.unusable if group is None or u.series_uid in {"", group.uid}]
    if lost:
        raise InputRejectedError(
            f"{len(lost)} image file{'s' if len(lost) > 1 else ''} of the study cannot be used, "
            f"the first ({lost[0].name}) is {lost[0].reason}; repair or take out"
        )


def _choose_ct(groups: Sequence[SeriesGroup], mr: Series) -> SeriesGroup:
    """The only CT series in the MR's frame of reference, or of several the one on its grid, the deformed one first."""
    shared = [group for group in groups if _pairs_with(group, mr)]
    if len(shared) == 1:
        return shared[0]
    if not shared:
        known = _listed([group for group in groups if group.modality == "CT"]) or "no CT at all"
        raise SeriesError(
            f"{mr}: no CT series shares its frame of reference; found {known}; add the CT registered to it"
        )
    fitting = [group for group in shared if _lies_on(group, mr.volume.grid)]
    deformed = [group for group in fitting if "deform" in group.description.lower()]
    best = deformed or fitting
    if len(best) != 1:
        raise SeriesError(
            f"{mr}: {len(shared)} CT series share its frame of reference, {len(fitting)} of them lie on its grid, "
            f"one is needed: {_listed(best or shared)}; leave one alone in the folder"
        )
    return best[0]


def _lies_on(group: SeriesGroup, grid: Grid) -> bool:
    try:
        _, own = stacked(group)
    except SeriesError:
        return False
    return own.matches(grid, tolerance_mm=SAME_GRID_MM)


def _listed(groups: Sequence[SeriesGroup]) -> str:
    return ", ".join(str(group) for group in groups)


def _pairs_with(group: SeriesGroup, mr: Series) -> bool:
    header = group.headers[0]
    return (
        group.modality == "CT"
        and text(header, "FrameOfReferenceUID") == mr.frame_of_reference_uid
        and text(header, "SyntheticData") != "YES"
        and "LOCALIZER" not in text(header, "ImageType").upper()
    )


def _pixels(group: SeriesGroup, index: int) -> NDArray[np.float32]:
    """One slice [H, W], rescaled by its own slope and intercept: Philips changes them from slice to slice."""
    header = group.headers[index]
    named = f"{group}, instance {text(header, 'InstanceNumber') or index + 1}"
    try:
        stored = dcmread(group.files[index]).pixel_array
    except RuntimeError as error:
        raise InputRejectedError(
            f"{named}: no decoder for its compression; pip install 'mrct[codecs]'"
        ) from error
    except READ_FAULTS as error:
        raise SeriesError(f"{named}: its pixels cannot be read; export the series again") from error
    if stored.shape != (header.Rows, header.Columns):
        raise SeriesError(
            f"{named}: {stored.shape} pixels where its header says {header.Rows} x {header.Columns}"
        )
    slope = number(header, "RescaleSlope")
    intercept = number(header, "RescaleIntercept") or 0.0
    scaled = stored.astype(np.float32) * np.float32(1.0 if slope is None else slope)
    return np.asarray(scaled + np.float32(intercept), dtype=np.float32)
