"""What an evaluation says, in plain sentences: which result is best by which metric, and where the CNN stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mrct_runtime.evaluation.html.comparison import Comparison, Lead
from mrct_runtime.evaluation.ranking import Entry, in_figures, three_digits
from mrct_runtime.evaluation.results import METRICS, Interval

_NEVER: Final = "The CNN beats the best diffusion result by no metric."
_AVERAGES: Final = "The average of all samples beats the single samples of a sampler"


def findings(comparison: Comparison) -> list[str]:
    """Sentences about a group of subjects; none where it has no scores."""
    if not comparison.metrics:
        return []
    return [
        *_winners(comparison),
        *_cnn(comparison),
        *_averaging(comparison),
        *_uncertainty(comparison),
        *_time(comparison),
    ]


def with_unit(metric: str, value: float) -> str:
    """0.912, 27.31 dB, 63.4 HU."""
    return f"{in_figures(metric, value)} {METRICS[metric].unit}".rstrip()


def with_interval(metric: str, interval: Interval) -> str:
    """0.912 [0.905, 0.918]; without brackets where there is no interval."""
    value = with_unit(metric, interval.value)
    ends = brackets(metric, interval)
    return f"{value} {ends}" if ends else value


def brackets(metric: str, interval: Interval) -> str:
    """[0.905, 0.918]; nothing where there is no interval."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{in_figures(metric, interval.low)}, {in_figures(metric, interval.high)}]"


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def _winners(comparison: Comparison) -> list[str]:
    """For each result that leads by some metric, with its values, a sentence where it does so clearly and one where not."""
    won: dict[tuple[str, bool], list[str]] = {}
    for lead in comparison.leads():
        text = f"{METRICS[lead.metric].title} ({with_interval(lead.metric, lead.values[0])})"
        won.setdefault((lead.first.label, lead.is_clear), []).append(text)
    return [
        f"{label} is best{'' if clear else ', but not clearly,'} by {listed(metrics)}."
        for (label, clear), metrics in won.items()
    ]


def _cnn(comparison: Comparison) -> list[str]:
    """Where the best CNN beats every diffusion result, and where it is beaten."""
    wins, losses = [], []
    for metric in comparison.metrics:
        cnn = comparison.ranking(metric, lambda row: row.run.method == "cnn")
        diffusion = comparison.ranking(metric, lambda row: not row.direct)
        if not cnn or not diffusion:
            continue
        better = METRICS[metric].higher_is_better == (cnn[0][1].value > diffusion[0][1].value)
        if better and cnn[0][1].value != diffusion[0][1].value:
            wins.append(_ahead(comparison.lead(metric, cnn[0], diffusion[0])))
        else:
            losses.append(_ahead(comparison.lead(metric, diffusion[0], cnn[0])))
    if not wins and not losses:
        return []
    first = f"The CNN beats every diffusion result by {listed(wins)}." if wins else _NEVER
    return [first, f"The CNN does not win by {listed(losses)}."] if losses else [first]


def _ahead(lead: Lead) -> str:
    """The metric and in brackets how far the CNN is ahead of, or behind, the other result, and how surely."""
    title = METRICS[lead.metric].title
    wins = lead.first.run.method == "cnn"
    place, other = ("ahead of", lead.second.label) if wins else ("behind", lead.first.label)
    if lead.by is None:
        return f"{title} ({place} {other})"
    doubt = "" if lead.is_clear else "; not clear from these subjects"
    return f"{title} ({with_interval(lead.metric, lead.by)} {place} {other}{doubt})"


def _averaging(comparison: Comparison) -> list[str]:
    """By which metrics the averaged images beat the single samples, and for how many samplers."""
    pairs = _pairs(comparison.rows)
    if not pairs:
        return []
    counts: dict[int, list[str]] = {}
    for metric in comparison.metrics:
        helped = 0
        for single, mean in pairs:
            values = [row.interval(metric, comparison.group) for row in (single, mean)]
            if values[0] is not None and values[1] is not None:
                gain = values[1].value - values[0].value
                helped += (gain if METRICS[metric].higher_is_better else -gain) > 0
        counts.setdefault(helped, []).append(METRICS[metric].title)
    if len(counts) == 1:
        (count,) = counts
        return [f"{_AVERAGES} in {count} of {len(pairs)} by every metric."]
    by_count = sorted(counts.items(), reverse=True)
    parts = [f"in {count} of {len(pairs)} by {listed(titles)}" for count, titles in by_count]
    return [f"{_AVERAGES} {'; '.join(parts)}."]


def _pairs(rows: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    means = {row.run.label: row for row in rows if row.averaged}
    return [
        (row, means[row.run.label]) for row in rows if not row.averaged and row.run.label in means
    ]


def _uncertainty(comparison: Comparison) -> list[str]:
    stds = {run.label: run.overall[comparison.group].mean_std_hu for run in comparison.runs}
    found = {label: std.value for label, std in stds.items() if std is not None}
    if not found:
        return []
    return [f"Mean deviation of the samples, from low to high: {_ordered(found, '{:.1f} HU')}."]


def _time(comparison: Comparison) -> list[str]:
    seconds = {run.label: run.seconds_a_slice / run.mc for run in comparison.runs}
    order = sorted(seconds.items(), key=lambda pair: pair[1])
    text = listed(f"{label} {three_digits(value)} s" for label, value in order)
    return [f"Time for one sample of one slice, from fast to slow: {text}."]


def _ordered(values: Mapping[str, float], form: str) -> str:
    order = sorted(values.items(), key=lambda pair: pair[1])
    return listed(f"{label} {form.format(value)}" for label, value in order)
