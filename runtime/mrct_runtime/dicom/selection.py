"""Which series of a study is the axial T2-weighted one: scored by its headers, refused where that is not clear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import number, text
from mrct_runtime.errors import NoInputError, SeriesError

# A series needs this much evidence of T2 weighting, and this lead over the next one.
MIN_SCORE = 3.0
MIN_LEAD = 0.5
MIN_SLICES = 3

_DIFFUSION = re.compile(r"diff|dwi|adc|trace|ep2d|\bfa\b|b_?val|perf|dce|dyn")
_LOCALIZER = re.compile(r"loc(ali[sz]er)?(\b|_)|scout|survey|3-?plane|aahscout")
_T2 = re.compile(r"t2(?!\s*\*|\s*_?star)")
_OTHER_WEIGHTING = re.compile(
    r"t1|(\b|_)pd(\b|_)|vibe|flash|mprage|dixon|t2\s*\*|t2_?star|flair|swi"
)
_OTHER = {"T1", "T2_STAR", "PROTON_DENSITY"}
# of a complex image, in the words of enhanced and of classic images; magnitude alone shows tissue
_COMPONENTS = {"PHASE", "REAL", "IMAGINARY", "P", "R", "I", "PHASE MAP"}
_FAT_SUPPRESSED = re.compile(r"(\b|_)fs(\b|_)|fat_?sat|stir|spair|spir")


@dataclass(frozen=True, eq=False)
class Verdict:
    """A series and what speaks for it: score None where it is out of the question, and why."""

    group: SeriesGroup
    score: float | None
    reason: str


def judge(group: SeriesGroup) -> Verdict:
    """The evidence that a series is an axial T2-weighted MR: contrast by its timings, kind and name, less a tilt."""
    refused = _out_of_question(group)
    if refused:
        return Verdict(group, None, refused)
    evidence = _evidence(group)
    score = sum(points for points, _ in evidence)
    shown = ", ".join(f"{what} {points:+.3g}" for points, what in evidence)
    if score < MIN_SCORE:
        return Verdict(group, None, f"not T2-weighted ({shown or 'nothing says so'})")
    return Verdict(group, score, f"score {score:.2f} ({shown})")


def choose_mr(
    groups: Sequence[SeriesGroup],
    series: str | None = None,
    *,
    advice: str = "name one with --series",
) -> Verdict:
    """The one axial T2w series, or the one of any plane that is named; a tie is refused with the candidates.

    A name is that of a `SeriesGroup`: a number or a UID, with :2 for the second of several stacks.
    """
    found = mr_groups(groups)
    if series is not None:
        return _named(found, series)
    verdicts = [judge(group) for group in found]
    usable = sorted(
        (v for v in verdicts if v.score is not None), key=lambda v: v.score or 0.0, reverse=True
    )
    if not usable:
        raise SeriesError(
            f"no axial T2-weighted series: {_listed(verdicts)}; {advice} if that is wrong"
        )
    best = usable[0]
    rivals = [v for v in usable if (best.score or 0.0) - (v.score or 0.0) < MIN_LEAD]
    if len(rivals) > 1:
        names = ", ".join(f"{v.group.name} ({v.group})" for v in rivals)
        raise SeriesError(f"{len(rivals)} series are equally good axial T2w: {names}; {advice}")
    others = _listed([v for v in verdicts if v is not best])
    return Verdict(
        best.group, best.score, best.reason + (f"; not chosen: {others}" if others else "")
    )


def mr_groups(groups: Sequence[SeriesGroup]) -> list[SeriesGroup]:
    """The MR stacks; NoInputError where there is none."""
    found = [group for group in groups if group.modality == "MR"]
    if not found:
        held = ", ".join(sorted({group.modality for group in groups})) or "no image series"
        raise NoInputError(f"no MR series in the study ({held}); name a folder with T2-weighted MR")
    return found


_NAMED_STUDIES = 3


def refuse_several_studies(groups: Sequence[SeriesGroup]) -> None:
    """SeriesError where MR of several studies lies together: one of them may be another patient, or years old."""
    uids = sorted({group.study_uid for group in groups if group.modality == "MR"})
    if len(uids) > 1:
        more = f" and {len(uids) - _NAMED_STUDIES} more" if len(uids) > _NAMED_STUDIES else ""
        raise SeriesError(
            f"{len(uids)} MR studies in one folder, of the UIDs {', '.join(uids[:_NAMED_STUDIES])}{more}; "
            "name the folder of one, or a series with --series"
        )


def _named(found: Sequence[SeriesGroup], series: str) -> Verdict:
    exact = [group for group in found if series in group.names]
    if len(exact) == 1:
        return Verdict(exact[0], None, "named by --series")
    loosely = [group for group in found if series in {group.uid, str(group.number)}]
    if not loosely:
        known = ", ".join(f"{group.name} ({group})" for group in found)
        raise SeriesError(f"no MR series {series!r} in the study; --series takes {known}")
    names = ", ".join(f"{group.name} ({group.part or group})" for group in loosely)
    what = (
        f"several MR series have the number {series}"
        if len({group.uid for group in loosely}) > 1
        else f"series {series} holds {len(loosely)} stacks"
    )
    raise SeriesError(f"{what}; name one of them, --series takes {names}")


def _listed(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(f"{_titled(v.group)}: {v.reason}" for v in verdicts)


def _titled(group: SeriesGroup) -> str:
    """The series as a person calls it, with what --series takes where that is not its number."""
    return str(group) if group.named_by_number else f"{group}, {group.name}"


def _names(group: SeriesGroup) -> str:
    header = group.headers[0]
    return " ".join(text(header, k) for k in ("SeriesDescription", "ProtocolName")).lower()


def _out_of_question(group: SeriesGroup) -> str:
    """Why a series cannot be an axial anatomical MR; empty where it can."""
    header = group.headers[0]
    names = _names(group)
    kind = text(header, "ImageType").upper().split("\\")
    contrast = text(header, "AcquisitionContrast")
    if group.plane != "axial":
        return group.plane
    if _COMPONENTS & {text(header, "ComplexImageComponent"), *kind[2:]}:
        return "a phase, real or imaginary image"
    if "LOCALIZER" in kind or _LOCALIZER.search(names):
        return "a localizer"
    # A T2w protocol may name a diffusion study in its description, never run as EPI.
    if (
        text(header, "DiffusionBValue")
        or "EP" in text(header, "ScanningSequence").split("\\")
        or {"DIFFUSION", "ADC", "TRACEW", "FA", "PERFUSION"} & {*kind, contrast}
        or _DIFFUSION.search(names)
    ):
        return "diffusion, perfusion or echo-planar"
    if len(group.headers) < MIN_SLICES:
        return f"of {len(group.headers)} slices only"
    return ""


def _evidence(group: SeriesGroup) -> list[tuple[float, str]]:
    """(points, what) that speak for and against T2 weighting; the weights were set on real studies."""
    header = group.headers[0]
    names = _names(group)
    echo, repetition = number(header, "EchoTime"), number(header, "RepetitionTime")
    inversion = number(header, "InversionTime") or 0.0
    sequence = text(header, "ScanningSequence").split("\\")
    # multi-frame images say what classic ones leave to their names
    contrast = text(header, "AcquisitionContrast")
    rules = (
        (2.0, f"TE {echo:g} ms" if echo else "", (echo or 0.0) >= 70),
        (-4.0, f"TE {echo:g} ms" if echo else "", echo is not None and echo < 50),
        (1.0, f"TR {repetition:g} ms" if repetition else "", (repetition or 0.0) >= 2000),
        (2.0, "spin echo", "SE" in sequence),
        (-3.0, "gradient echo", "GR" in sequence and "SE" not in sequence),
        (1.0, "echo train", (number(header, "EchoTrainLength") or 1) > 1),
        (3.0, "named T2", bool(_T2.search(names)) or contrast == "T2"),
        (-4.0, "named otherwise", bool(_OTHER_WEIGHTING.search(names)) or contrast in _OTHER),
        (-4.0, "fluid suppressed", inversion >= 1000 or contrast == "FLUID_ATTENUATED"),
        (-2.0, "fat suppressed", bool(_FAT_SUPPRESSED.search(names)) or 0 < inversion < 1000),
        (-1.0, "derived", text(header, "ImageType").upper().startswith("DERIVED")),
        (-2.0, f"{len(group.headers)} slices", len(group.headers) < 8),
        (-group.tilt_deg / 30, f"tilt {group.tilt_deg:.1f} deg", group.tilt_deg > 0.05),
    )
    return [(points, what) for points, what, holds in rules if holds]
