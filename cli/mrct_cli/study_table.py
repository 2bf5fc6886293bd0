"""A study as mrct check shows it: a table of its stacks, what would be used, and what is wrong; or the volume of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrct_runtime.dicom.reading import Series
    from mrct_runtime.dicom.survey import StackFacts, Survey

_HEAD = ("  series", "image", "plane", "slices", "mm", "TE/TR ms", "description")
# By the axis of the patient that the slices are stacked along: left, posterior, head.
_PLANES = ("sagittal", "coronal", "axial")


def study_lines(found: Survey) -> Iterator[str]:
    """The table, two lines a stack, and below it the verdict."""
    rows = [_HEAD, *(_cells(stack, used=stack.name == found.used) for stack in found.stacks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]
    if found.stacks:
        yield lines[0]
    for study in found.studies:
        if len(found.studies) > 1:
            yield f"study {study}"
        for line, stack in zip(lines[1:], found.stacks, strict=True):
            if stack.study_uid == study:
                yield line
                yield f"      {f'wrong: {stack.fault}' if stack.fault else stack.reason}"
    if found.others:
        yield f"no images of MR or CT: {_counts(found.others)}"
    if found.unusable:
        yield f"wrong: image files that cannot be used: {_counts(found.unusable)}"
    yield from (f"note: {note}" for note in found.notes)
    yield "nothing can be used" if found.used is None else f"used: {found.used}, {_why(found)}"


def study_document(found: Survey) -> dict[str, Any]:
    """What `study_lines` shows, as JSON has it."""
    document = asdict(found) | {"error": None, "exit_code": 0}
    if found.error is not None:
        document |= {"error": str(found.error), "exit_code": found.error.exit_code}
    return document


def volume_lines(series: Series) -> Iterator[str]:
    """The size of a volume of a file, what it is taken for, and what is doubted."""
    facts = volume_document(series)
    size = " x ".join(str(n) for n in facts["shape"])
    spacing = " x ".join(f"{mm:.3g}" for mm in facts["spacing_mm"])
    yield f"{size} voxels of {spacing} mm, cut nearest to {facts['plane']}; values {facts['lowest']:g} to {facts['highest']:g}"
    yield from (f"note: {note}" for note in series.notes)
    yield f"used: {series.reason}"


def volume_document(series: Series) -> dict[str, Any]:
    """What `volume_lines` shows, as JSON has it: slices, rows and columns, mm."""
    volume = series.volume
    return {
        "shape": list(volume.array.shape),
        "spacing_mm": [round(float(mm), 6) for mm in volume.grid.spacing_mm],
        "plane": _PLANES[int(abs(volume.grid.normal).argmax())],
        "lowest": float(volume.array.min()),
        "highest": float(volume.array.max()),
        "reason": series.reason,
        "notes": list(series.notes),
        "exit_code": 0,
    }


def _cells(stack: StackFacts, *, used: bool) -> tuple[str, ...]:
    tilt = f" {stack.tilt_deg:.1f} deg" if stack.tilt_deg >= 0.05 else ""
    spacing = " x ".join(f"{mm:.3g}" for mm in stack.spacing_mm or ())
    times = (stack.echo_ms, stack.repetition_ms)
    part = f" ({stack.part})" if stack.part else ""
    return (
        f"{'*' if used else ' '} {stack.name}",
        stack.modality,
        f"{stack.plane}{tilt}",
        f"{stack.slices} x {stack.rows} x {stack.columns}",
        spacing or "irregular",
        "/".join("-" if ms is None else f"{ms:g}" for ms in times),
        f"{stack.description}{part}",
    )


def _why(found: Survey) -> str:
    return found.why.partition("; not chosen:")[0]


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in Counter(counted).most_common())
