"""What is in a study, what would be translated and what is wrong: all that can be told before a model is loaded.

It holds no patient data but what a series is called: no names, no dates, no file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mrct_runtime.dicom.geometry import stacked
from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import number
from mrct_runtime.dicom.reading import choose_in_study, damaged, read_chosen
from mrct_runtime.dicom.scanning import Scan, scan
from mrct_runtime.dicom.selection import Verdict, judge
from mrct_runtime.errors import InputRejectedError, MrctError, SeriesError


@dataclass(frozen=True)
class StackFacts:
    """A stack of a study: what --series takes for it, what it is, and how it was judged; mm, ms and degrees.

    `score` is None where the stack is out of the question by itself, for the `reason`; `fault` is why it is no volume.
    """

    name: str
    study_uid: str
    series_uid: str
    number: int | None
    description: str
    part: str
    modality: str
    plane: str
    tilt_deg: float
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float] | None
    echo_ms: float | None
    repetition_ms: float | None
    score: float | None
    reason: str
    fault: str


@dataclass(frozen=True)
class Survey:
    """A study as it was found. `used` names the stack that would be translated, None where there is none.

    `error` is then why, as a translation would say it; `unusable` counts the image files that give no slice by the
    reason, `others` the DICOM objects that are no MR or CT images by their kind.
    """

    studies: tuple[str, ...]
    stacks: tuple[StackFacts, ...]
    unusable: Mapping[str, int]
    others: Mapping[str, int]
    used: str | None
    why: str
    notes: tuple[str, ...]
    error: MrctError | None


def survey(folder: Path | str, series: str | None = None) -> Survey:
    """The study in a folder, with the pixels of the stack that would be used read as well, or of the one named."""
    found = scan(folder)
    used: str | None = None
    why = ""
    notes: tuple[str, ...] = ()
    error: MrctError | None = None
    try:
        choice = _chosen(found, series)
        notes = read_chosen(choice).notes
        used, why = choice.group.name, choice.reason
    except MrctError as refused:
        error = refused
    return Survey(
        studies=tuple(sorted({group.study_uid for group in found.groups})),
        stacks=tuple(_facts(group) for group in found.groups),
        unusable=dict(Counter(unusable.reason for unusable in found.unusable)),
        others=found.others,
        used=used,
        why=why,
        notes=notes,
        error=error,
    )


def _chosen(found: Scan, series: str | None) -> Verdict:
    """The stack that a translation would read, refused as there, but without a file's name."""
    if not found.groups:
        _refuse_damaged(found, None)
    choice = choose_in_study(found, series)
    _refuse_damaged(found, choice.group)
    return choice


def _refuse_damaged(found: Scan, group: SeriesGroup | None) -> None:
    reasons = Counter(unusable.reason for unusable in damaged(found, group))
    if reasons:
        told = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
        of = "the study" if group is None else f"{group}, or perhaps of it,"
        raise InputRejectedError(f"image files of {of} cannot be used: {told}; repair or take out")


def _facts(group: SeriesGroup) -> StackFacts:
    header = group.headers[0]
    spacing_mm, fault = None, ""
    try:
        z, y, x = stacked(group)[1].spacing_mm
        spacing_mm = (round(float(z), 6), round(float(y), 6), round(float(x), 6))
    except SeriesError as error:
        fault = str(error).removeprefix(f"{group}: ")
    verdict = judge(group) if group.modality == "MR" else Verdict(group, None, "no MR")
    return StackFacts(
        name=group.name,
        study_uid=group.study_uid,
        series_uid=group.uid,
        number=group.number,
        description=group.description,
        part=group.part,
        modality=group.modality,
        plane=group.plane,
        tilt_deg=round(group.tilt_deg, 2),
        slices=len(group.headers),
        rows=int(header.Rows),
        columns=int(header.Columns),
        spacing_mm=spacing_mm,
        echo_ms=number(header, "EchoTime"),
        repetition_ms=number(header, "RepetitionTime"),
        score=None if verdict.score is None else round(verdict.score, 3),
        reason=verdict.reason,
        fault=fault,
    )
