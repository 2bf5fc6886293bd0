"""mrct check: what a study or a paired data set holds, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrct_cli.paths import PATH
from mrct_cli.study_table import study_document, study_lines, volume_document, volume_lines
from mrct_cli.verdict import passed, stdout_for_programs
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError

if TYPE_CHECKING:
    from mrct_runtime.paired.inspection import Inspection, PairFacts

_INDENT = " " * 9


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", type=PATH, metavar="PATH")
@click.option(
    "--series",
    metavar="NAME",
    help="Of a study, judge this MR series, by its number, UID or NUMBER:2.",
)
@click.option(
    "--subjects",
    metavar="PATTERN",
    help="Of a data set, look at the subjects of such names (*, ?, [...]). [all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(path: Path, series: str | None, subjects: str | None, as_json: bool) -> str:
    """Say what is in the MR study, the volume or the paired data set PATH, what would be used and what is wrong.

    PATH is a data set where it holds a folder a subject, each with an MR and a CT: DICOM in one frame of reference, mr and
    ct as NIfTI or MetaImage, or PNG pairs; or such folders in PATH/train and PATH/test. Any other folder with DICOM files is
    a study, at whatever depth they lie; with --series it always is one, with --subjects never. A file is one volume, NIfTI
    or MetaImage.

    A study's stacks are listed with their names for --series, and a star before the one that mrct-infer would translate.
    Ends with 0 where there is one, 4 where the study is refused, 3 where there is no MR. A data set ends with 0 where
    every subject can be trained on, 4 where one cannot, 3 where there is none.
    """
    from mrct_runtime.paired import is_study
    from mrct_runtime.volume_files import ending

    stdout_for_programs(wanted=as_json)
    if series is not None and subjects is not None:
        raise UsageError("--series is of a study, --subjects of a data set: give one of them")
    if subjects is None and not path.is_dir() and (path.is_file() or ending(path.name)):
        return _check_volume(path, series, as_json=as_json)
    if series is not None or (subjects is None and is_study(path)):
        return _check_study(path, series, as_json=as_json)
    return _check_data_set(path, subjects or "*", as_json=as_json)


def _check_volume(path: Path, series: str | None, *, as_json: bool) -> str:
    from mrct_runtime.source import read_source

    found = read_source(path, series=series)
    if as_json:
        click.echo(json.dumps(volume_document(found), indent=2))
    else:
        click.echo("\n".join(volume_lines(found)))
    return passed("this volume can be translated")


def _check_study(path: Path, series: str | None, *, as_json: bool) -> str:
    from mrct_runtime.dicom.survey import survey

    found = survey(path, series)
    if as_json:
        click.echo(json.dumps(study_document(found), indent=2))
    else:
        click.echo("\n".join(study_lines(found)))
    if found.error is not None:
        raise found.error
    return passed("this study can be translated")


def _check_data_set(data: Path, subjects: str, *, as_json: bool) -> str:
    found: list[Inspection] = []
    beside: list[str] = []
    for inspection in _inspected(data, subjects, beside):
        found.append(inspection)
        if not as_json:
            click.echo("\n".join(_lines(inspection)))
    if as_json:
        click.echo(json.dumps(_document(found, beside), indent=2))
    else:
        click.echo("\n".join(_summary(found, beside)))
    wrong = sum(inspection.verdict == "wrong" for inspection in found)
    if wrong:
        raise InputRejectedError(
            f"{wrong} of {len(found)} subjects cannot be used; mend them or take them out"
        )
    return passed("every subject can be used")


def _inspected(data: Path, pattern: str, beside: list[str]) -> Iterator[Inspection]:
    """Every subject of every part, one at a time; `beside` gets the folders that are none."""
    from mrct_runtime.paired import (
        PARTS,
        find_subjects,
        inspect,
        passed_over,
        refuse_test_alone,
    )

    refuse_test_alone(data)
    parts = [part for part in PARTS if (data / part).is_dir()]
    nothing: list[NoInputError] = []
    for part in parts or [""]:
        prefix = f"{part}/" if part else ""
        try:
            subjects = find_subjects(data / part, pattern)
        except NoInputError as error:
            nothing.append(error)
            continue
        if pattern == "*":
            beside += [f"{prefix}{name}" for name in passed_over(data / part, subjects)]
        for subject in subjects:
            yield inspect(replace(subject, name=f"{prefix}{subject.name}"))
    if len(nothing) == max(1, len(parts)):
        raise nothing[0]


def _lines(inspection: Inspection) -> Iterator[str]:
    held = "; ".join(_held(inspection)) or "nothing that could be read"
    yield f"{inspection.verdict:8} {inspection.name}: {inspection.layout}; {held}"
    yield from (f"{_INDENT}{pair.source}" for pair in inspection.pairs if pair.source)
    yield from (f"{_INDENT}warning: {warning}" for warning in inspection.warnings)
    if inspection.fault:
        yield f"{_INDENT}wrong: {inspection.fault}"


def _held(inspection: Inspection) -> Iterator[str]:
    """A phrase for all pairs of one spacing: sizes, mm, the range of their HU, and whether there are masks."""
    kinds: dict[tuple[str, str], list[PairFacts]] = {}
    for pair in inspection.pairs:
        spacing = pair.spacing_mm[1:] if pair.shape[0] == 1 else pair.spacing_mm
        shown = " x ".join(f"{mm:.3g}" for mm in spacing)
        kinds.setdefault((f"{shown} mm", "mask" if pair.mask else "no mask"), []).append(pair)
    for (spacing_mm, mask), pairs in kinds.items():
        low, high = min(p.lowest_hu for p in pairs), max(p.highest_hu for p in pairs)
        sizes = ", ".join(_size(pair) for pair in pairs)
        yield f"{sizes}; {spacing_mm}; {low:.0f} to {high:.0f} HU; {mask}"


def _size(pair: PairFacts) -> str:
    slices, rows, columns = pair.shape
    kind = pair.view if slices == 1 else f"{slices} slices of"
    return f"{kind} {rows} x {columns}"


def _summary(found: list[Inspection], beside: list[str]) -> Iterator[str]:
    """The last lines: folders that are no subjects, and counts."""
    if beside:
        yield f"passed over, no MR and no CT in: {', '.join(beside)}"
    counts = dict.fromkeys(("ok", "warning", "wrong"), 0)
    for inspection in found:
        counts[inspection.verdict] += 1
    slices = sum(inspection.slices for inspection in found if inspection.verdict != "wrong")
    yield (
        f"{len(found)} subject{'s' if len(found) > 1 else ''}: {counts['ok']} ok, {counts['warning']} with warnings, "
        f"{counts['wrong']} wrong; {slices} slices can be used"
    )


def _document(found: list[Inspection], beside: list[str]) -> dict[str, Any]:
    return {
        "subjects": [{"verdict": one.verdict, **asdict(one)} for one in found],
        "passed_over": beside,
    }
