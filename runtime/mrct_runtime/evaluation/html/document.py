"""The page itself, from a template that comes with the package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mrct_runtime.errors import NoInputError
from mrct_runtime.evaluation.html import tables
from mrct_runtime.evaluation.html.comparison import FEWEST, Comparison
from mrct_runtime.evaluation.html.findings import findings
from mrct_runtime.evaluation.ranking import entries
from mrct_runtime.evaluation.results import EVERYONE, METRICS, Evaluation
from mrct_runtime.html import embedded, render

REPORT: Final = "report.html"
_TEMPLATE: Final = "report.html.jinja"


def write_html(evaluation: Evaluation, folder: Path) -> Path:
    """Writes report.html into the folder, which holds the evaluation's figures, and returns its path."""
    path = folder / REPORT
    path.write_text(page(evaluation, folder), "utf-8")
    return path


def page(evaluation: Evaluation, folder: Path) -> str:
    """The page's text. Names and captions are escaped; images are inside as base64."""
    return render(__package__, _TEMPLATE, _content(evaluation, folder))


def _content(evaluation: Evaluation, folder: Path) -> Mapping[str, Any]:
    return {
        "evaluation": evaluation,
        "conditions": evaluation.conditions,
        "data": evaluation.data,
        "groups": [_group(evaluation, group) for group in _groups(evaluation)],
        "figures": [(figure, _embedded(folder / figure.file)) for figure in evaluation.figures],
        "reliability": tables.reliability(evaluation),
        "runs": tables.runs(evaluation),
        "subjects": [(row.label, tables.subjects(row)) for row in entries(evaluation.runs)],
        "fewest": FEWEST,
        "metrics": list(METRICS.values()),
        "masks": Counter(evaluation.data.body.values()),
        "windows": _windows(evaluation),
    }


def _groups(evaluation: Evaluation) -> list[str]:
    """Every group that some run has scores for, in the runs' order."""
    return list(dict.fromkeys(group for run in evaluation.runs for group in run.overall))


def _group(evaluation: Evaluation, group: str) -> Mapping[str, Any]:
    comparison = Comparison(evaluation, group)
    return {
        "title": "All subjects" if group == EVERYONE else f"Group: {group}",
        "count": max(run.overall[group].subjects for run in comparison.runs),
        "findings": findings(comparison),
        "winners": tables.winners(comparison),
        "scores": tables.scores(comparison),
        "costs": tables.costs(comparison),
    }


def _windows(evaluation: Evaluation) -> str:
    """For how many subjects the windows of SynthRAD's metrics crossed slices."""
    by_subject = {one.subject: one.dimensions for run in evaluation.runs for one in run.subjects}
    volumes = sum(dimensions == 3 for dimensions in by_subject.values())
    flat = len(by_subject) - volumes
    if not flat:
        return "3-D for every subject: the windows of SSIM and MS-SSIM cross slices, as SynthRAD computes them."
    some = f"3-D for {volumes} of {len(by_subject)} subjects. For the others: " if volumes else ""
    return (
        f"{some}2-D: each slice is scored on its own and the slices are averaged, because the whole stack was "
        "not evaluated or has fewer slices than a window. Such values are not SynthRAD's own."
    )


def _embedded(path: Path) -> str:
    """A data URL of a PNG."""
    try:
        return embedded(path.read_bytes())
    except OSError as error:
        raise NoInputError(
            f"{path.name}: the report's figure is not in {path.parent.name}; write the figures first"
        ) from error
