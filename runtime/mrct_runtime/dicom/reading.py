"""A study folder in, a checked series out: headers of everything first, pixels of the chosen series alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from mrct_runtime.dicom.geometry import stacked
from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import text
from mrct_runtime.dicom.image_file import Unusable
from mrct_runtime.dicom.pixels import pixels
from mrct_runtime.dicom.scanning import Scan, scan
from mrct_runtime.dicom.selection import Verdict, choose_mr, refuse_several_studies
from mrct_runtime.dicom.uids import content_uid
from mrct_runtime.errors import InputRejectedError, SeriesError
from mrct_runtime.scratch import IN_MEMORY, Scratch
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


def read_study(
    folder: Path | str, *, series: str | None = None, scratch: Scratch = IN_MEMORY
) -> Series:
    """The study's axial T2w MR series, or the one named, float32 in the scanner's rescaled units."""
    found = scan(folder)
    choice = choose_in_study(found, series)
    refuse_damaged(found, choice.group)
    return read_chosen(choice, scratch)


def choose_in_study(found: Scan, series: str | None) -> Verdict:
    """The series of one study to translate; refused where MR of several studies lies together and none is named."""
    if not found.groups:
        refuse_damaged(found, None)
    if series is None:
        refuse_several_studies(found.groups)
    return choose_mr(found.groups, series)


def read_chosen(choice: Verdict, scratch: Scratch = IN_MEMORY) -> Series:
    """The chosen series with the reason, and with what is to be told of its plane."""
    mr = read_series(choice.group, scratch)
    reason = f"{choice.group}: {choice.reason}"
    return replace(mr, reason=reason, notes=(*mr.notes, *plane_notes(choice.group)))


def read_pair(folder: Path | str) -> tuple[Series, Series]:
    """(MR, CT) of a training subject: the axial T2w MR and the one CT on its grid, sharing its frame of reference.

    Of several such CT series the one that is called deformed is taken: it was registered to this MR, as Gold Atlas's
    "Deformed 'CT 1' using CTtoMR DIR" was.
    """
    found = scan(folder)
    if not found.groups:
        refuse_damaged(found, None)
    choice = choose_mr(found.groups, advice="leave one alone in the folder")
    refuse_damaged(found, choice.group)
    mr = read_chosen(choice)
    chosen = _choose_ct(found.groups, mr)
    refuse_damaged(found, chosen)
    ct = read_series(chosen)
    if not ct.volume.grid.matches(mr.volume.grid, tolerance_mm=SAME_GRID_MM):
        raise SeriesError(
            f"{ct}: its grid ({ct.volume.grid}) is not that of {mr} ({mr.volume.grid}), voxels are up to "
            f"{ct.volume.grid.apart_mm(mr.volume.grid):.2g} mm apart; "
            "resample the CT to the MR's slices and pixels first"
        )
    return mr, ct


def read_series(group: SeriesGroup, scratch: Scratch = IN_MEMORY) -> Series:
    """The group as a volume, slices in order along the normal; irregular geometry or unreadable pixels are refused."""
    order, grid = stacked(group)
    array = pixels(group, order, scratch)
    if len({text(header, "PatientID") for header in group.headers}) > 1:
        raise SeriesError(
            f"{group}: images of more than one PatientID in one series; export one alone"
        )
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
        frame_of_reference_uid=frame or content_uid("frame of reference", group.uid),
        notes=notes,
    )


def plane_notes(group: SeriesGroup) -> tuple[str, ...]:
    """What is to be told of a stack that is not axial: which cuts through it are translated."""
    if group.plane == "axial":
        return ()
    cuts = stacked(group)[1].canonical()
    (cut_mm, *pixel_mm), (count, rows, columns) = cuts.spacing_mm, cuts.shape
    note = (
        f"the series is {group.plane}: its axial cuts are translated, {count} of {rows} x {columns} pixels of "
        f"{pixel_mm[0]:.3g} x {pixel_mm[1]:.3g} mm, {cut_mm:.3g} mm apart"
    )
    return (note,)


def damaged(found: Scan, group: SeriesGroup | None) -> list[Unusable]:
    """The unusable files that belong to the group, or may: a lost last slice leaves no gap to notice."""
    return [u for u in found.unusable if group is None or u.series_uid in {"", group.uid}]


def refuse_damaged(found: Scan, group: SeriesGroup | None) -> None:
    """InputRejectedError where a file is unusable that belongs to the group, or may."""
    lost = damaged(found, group)
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
