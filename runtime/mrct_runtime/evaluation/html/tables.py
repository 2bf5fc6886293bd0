"""The tables of the report: cells with the exact value behind the figures shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mrct_runtime.evaluation.calibration import LEVELS, name_of
from mrct_runtime.evaluation.html.comparison import FEWEST, Comparison, Lead
from mrct_runtime.evaluation.html.findings import brackets, with_interval
from mrct_runtime.evaluation.known import calibrations
from mrct_runtime.evaluation.ranking import Entry, in_figures, three_digits
from mrct_runtime.evaluation.results import METRICS, Evaluation, Interval


@dataclass(frozen=True)
class Cell:
    """What a cell shows; `exact` is the number as the JSON has it, None for words. An empty text is no value."""

    text: str
    exact: float | None = None
    below: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Headings with an explanation each, and rows that begin with their name."""

    headings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


NONE: Final = Cell("-")


def scores(comparison: Comparison) -> Table:
    """Every result, single and averaged, by every metric, with intervals; the best of a metric stands out."""
    best = {metric: comparison.ranking(metric)[0][0].label for metric in comparison.metrics}
    return Table(
        _headings(comparison.metrics),
        tuple(
            (
                row.label,
                tuple(
                    _interval(
                        metric,
                        row.interval(metric, comparison.group),
                        best=best[metric] == row.label,
                    )
                    for metric in comparison.metrics
                ),
            )
            for row in comparison.rows
        ),
    )


def winners(comparison: Comparison) -> Table:
    """For every metric the best result, the next, and how far and how surely it is ahead."""
    headings = ("best", "value", "next", "value", "lead", "better in", "do these subjects tell?")
    rows = []
    for lead in comparison.leads():
        values = [Cell(with_interval(lead.metric, each), each.value) for each in lead.values]
        by = Cell("-") if lead.by is None else Cell(with_interval(lead.metric, lead.by))
        cells = (
            Cell(lead.first.label, best=True),
            values[0],
            Cell(lead.second.label),
            values[1],
            by,
            Cell(f"{lead.wins} of {lead.subjects}"),
            Cell(_verdict(lead)),
        )
        rows.append((METRICS[lead.metric].title, cells))
    return Table(tuple((heading, "") for heading in headings), tuple(rows))


def costs(comparison: Comparison) -> Table:
    """Every run's uncertainty, evaluations and seconds."""
    headings = (
        ("samples a slice", ""),
        ("evaluations a sample", "of the network"),
        ("s a sample", "for one slice"),
        ("s a slice", "all samples"),
        ("mean deviation", "HU, in the body"),
        ("mean deviation", "as in the paper: whole slices in [0, 1]"),
    )
    rows = []
    for run in comparison.runs:
        overall = run.overall[comparison.group]
        cells = (
            Cell(str(run.mc), run.mc),
            Cell(three_digits(run.evaluations_a_sample), run.evaluations_a_sample),
            Cell(three_digits(run.seconds_a_slice / run.mc)),
            Cell(three_digits(run.seconds_a_slice), run.seconds_a_slice),
            _formatted("{:.1f}".format, overall.mean_std_hu),
            _formatted("{:.4f}".format, overall.paper_std),
        )
        rows.append((run.label, cells))
    return Table(headings, tuple(rows))


def subjects(entry: Entry) -> Table:
    """Every subject's values of one result."""
    chosen = {
        one.subject: (one, one.mean if entry.averaged else one.single) for one in entry.run.subjects
    }
    metrics = [metric for metric in METRICS if any(metric in each for _, each in chosen.values())]
    fixed = (("group", ""), ("slices", ""), ("windows", "of SynthRAD's SSIM"))
    rows = []
    for name, (one, values) in chosen.items():
        cells = [Cell(one.group), Cell(str(one.slices), one.slices), Cell(f"{one.dimensions}-D")]
        cells += [_value(metric, values) for metric in metrics]
        rows.append((name, tuple(cells)))
    return Table((*fixed, *_headings(metrics)), tuple(rows))


def reliability(evaluation: Evaluation) -> Table:
    """Every run's coverages and errors, by tissue."""
    known = [
        (f"{run.label}, {name}", tissue, found)
        for run in evaluation.runs
        for name, one in calibrations(run).items()
        for tissue, found in one.tissues.items()
    ]
    headings = (
        *((f"{name_of(p)} % interval", "holds %") for p in LEVELS),
        ("ENCE", "0 is best"),
        ("correlation", "of deviation and |error|"),
        *((name, "HU") for name in ("mean deviation", "MAE", "RMSE")),
        ("voxels", ""),
    )
    rows = []
    for label, tissue, one in known:
        cells = [_formatted(_per_cent, one.coverage.get(name_of(p))) for p in LEVELS]
        cells += [_number("{:.3f}", one.ence), _number("{:.2f}", one.correlation)]
        cells += [_number("{:.1f}", hu) for hu in (one.mean_std_hu, one.mae_hu, one.rmse_hu)]
        rows.append((f"{label}: {tissue}", (*cells, _number("{:,}", one.voxels))))
    return Table(headings, tuple(rows))


def runs(evaluation: Evaluation) -> Table:
    """What each run was made with."""
    headings = ("method", "sampler", "options", "samples a slice", "bundle", "sha256 of the bundle")
    rows = []
    for run in evaluation.runs:
        options = ", ".join(f"{name} {_option(value)}" for name, value in run.options.items())
        texts = (run.method, run.sampler, options or "-", str(run.mc), run.bundle)
        cells = (*map(Cell, texts), Cell(run.bundle_sha256[:16]))
        rows.append((run.label, cells))
    return Table(tuple((heading, "") for heading in headings), tuple(rows))


def _verdict(lead: Lead) -> str:
    if lead.subjects < FEWEST:
        return "too few"
    return "yes" if lead.is_clear else "no"


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


def _number(form: str, value: float | None) -> Cell:
    return NONE if value is None else Cell(form.format(value), value)


def _option(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value}"


def _headings(metrics: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (METRICS[metric].title, f"{METRICS[metric].unit} {'↑' if METRICS[metric].higher_is_better else '↓'}")
        for metric in metrics
    )  # fmt: skip


def _value(metric: str, values: Mapping[str, float]) -> Cell:
    if metric not in values:
        return NONE
    return Cell(in_figures(metric, values[metric]), values[metric])


def _interval(metric: str, interval: Interval | None, *, best: bool) -> Cell:
    if interval is None:
        return NONE
    below = brackets(metric, interval)
    return Cell(in_figures(metric, interval.value), interval.value, below, best)


def _formatted(form: Callable[[float], str], interval: Interval | None) -> Cell:
    if interval is None:
        return NONE
    ends = ""
    if interval.low is not None and interval.high is not None:
        ends = f"[{form(interval.low)}, {form(interval.high)}]"
    return Cell(form(interval.value), interval.value, ends)
