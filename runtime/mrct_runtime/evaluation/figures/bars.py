"""Figure 3: the scores of single and averaged results, the model's uncertainty, and what a slice costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from mrct_runtime.evaluation.figures.drawing import (
    AVERAGED,
    DIRECT,
    NORMAL,
    SINGLE,
    SMALL,
    figure,
    save,
)
from mrct_runtime.evaluation.ranking import entries, in_figures, three_digits
from mrct_runtime.evaluation.results import METRICS, Evaluation, Interval, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCORES: Final = ("paper_ssim", "paper_psnr", "mae_hu")
_LEGEND: Final = {
    SINGLE: "single samples",
    AVERAGED: "average of all samples (-M)",
    DIRECT: "network that is evaluated once",
}


class Bar(NamedTuple):
    """A bar, its colour, and its value with the interval; None where there is no such value, and `missing` why."""

    label: str
    colour: str
    interval: Interval | None
    missing: str = "-"


class Axis(NamedTuple):
    """How a panel's bars are measured: from 0, from just below the lowest value, or in powers of ten."""

    title: str
    figures: Callable[[float], str]
    start: Literal["zero", "lowest", "powers"] = "zero"


def file_of(place: int, group: str) -> str:
    """The file's name for the group at this place; labels may differ in signs that a file's name cannot have."""
    safe = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in group)
    return f"figure-3-scores-{place}-{safe}.png"


def draw(evaluation: Evaluation, group: str, path: Path) -> str:
    """Draws the figure of a group and returns its caption."""
    from matplotlib.patches import Patch

    runs = [run for run in evaluation.runs if group in run.overall]
    upper = [(_axis(metric), score_bars(runs, metric, group)) for metric in _SCORES]
    lower = cost_bars(runs, group)
    heights = [0.17 * len(bars) + 0.1 for _, bars in (upper[0], lower[0])]
    drawn = figure(sum(heights) + 1.3)
    drawn.set_layout_engine("constrained", w_pad=0.03, h_pad=0.04, hspace=0.06)
    axes = drawn.subplots(2, 3, height_ratios=heights)
    for letter, ax, (axis, bars) in zip("abcdef", axes.flat, [*upper, *lower], strict=True):
        draw_bars(ax, bars, axis._replace(title=f"({letter}) {axis.title}"))
    for ax in axes[:, 1:].flat:
        ax.tick_params(labelleft=False)
    colours = [colour for colour in _LEGEND if colour in {bar.colour for bar in upper[0][1]}]
    patches = [Patch(color=colour, label=_LEGEND[colour]) for colour in colours]
    drawn.legend(
        handles=patches, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False
    )
    save(drawn, path)
    subjects = max((run.overall[group].subjects for run in runs), default=0)
    confidence = f"{100 * evaluation.conditions.confidence:g} %"
    return (
        f"Means over the {subjects} subjects of the group {group!r}; whiskers are {confidence} bootstrap intervals over "
        "subjects. (a, b) SSIM and PSNR as in the paper, whose axes do not start at 0; (c) mean absolute error in the body. "
        "(d) The model's uncertainty: the samples' standard deviation averaged over the body. (e) Seconds and "
        "(f) network evaluations for one sample of one slice, in powers of ten where they differ much."
    )


def score_bars(runs: Sequence[Run], metric: str, group: str) -> list[Bar]:
    """Every result's bar: DDPM, DDPM-M, ..., CNN."""
    return [
        Bar(row.label, _colour(row.run, averaged=row.averaged), row.interval(metric, group))
        for row in entries(runs)
    ]


def cost_bars(runs: Sequence[Run], group: str) -> list[tuple[Axis, list[Bar]]]:
    """A bar for every run in three panels: uncertainty, seconds and evaluations of a sample of a slice."""
    seconds = [_exact(run.seconds_a_slice / run.mc) for run in runs]
    evaluations = [_exact(run.evaluations_a_sample) for run in runs]
    columns = (
        (
            Axis("Mean deviation (HU)", "{:.1f}".format),
            [run.overall[group].mean_std_hu for run in runs],
        ),
        (Axis("Seconds a sample", three_digits, _start(seconds)), seconds),
        (Axis("Evaluations a sample", three_digits, _start(evaluations)), evaluations),
    )
    return [
        (
            axis,
            [
                Bar(run.label, _colour(run, averaged=False), interval, _missing(run))
                for run, interval in zip(runs, values, strict=True)
            ],
        )
        for axis, values in columns
    ]


def draw_bars(ax: Axes, bars: Sequence[Bar], axis: Axis) -> None:
    """Horizontal bars from the top down, each with its whisker and its value in figures."""
    low, high = _ends(bars, axis)
    if axis.start == "powers":
        ax.set_xscale("log")
    for y, (_, colour, interval, missing) in enumerate(bars):
        if interval is None:
            ax.annotate(missing, (0, y), (2, 0), ("axes fraction", "data"), "offset points", size=SMALL, va="center")  # fmt: skip
            continue
        ax.barh(y, interval.value, height=0.72, color=colour)
        end = interval.value
        if interval.low is not None and interval.high is not None:
            ax.plot((interval.low, interval.high), (y, y), color="black", linewidth=1.0)
            end = interval.high
        ax.annotate(axis.figures(interval.value), (end, y), (3, 0), textcoords="offset points", size=SMALL, va="center")  # fmt: skip
    ax.set_xlim(low, high)
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
    ax.tick_params(labelsize=SMALL, length=2)
    ax.set_title(axis.title, fontsize=NORMAL, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    if axis.start == "lowest":
        ax.set_xlabel("this axis does not start at 0", fontsize=SMALL, labelpad=1)


def _axis(metric: str) -> Axis:
    shown = METRICS[metric]
    unit = f" ({shown.unit})" if shown.unit else ""
    arrow = "higher" if shown.higher_is_better else "lower"
    start: Literal["zero", "lowest"] = "lowest" if shown.higher_is_better else "zero"
    return Axis(f"{shown.title}{unit}, {arrow} is better", partial(in_figures, metric), start)


def _ends(bars: Sequence[Bar], axis: Axis) -> tuple[float, float]:
    """Where the axis begins and ends, with room at the right for the figures."""
    found = [bar.interval for bar in bars if bar.interval is not None]
    if not found:
        return 0.0, 1.0
    lowest = min(one.value if one.low is None else one.low for one in found)
    highest = max(one.value if one.high is None else one.high for one in found)
    if axis.start == "powers":
        return lowest / 2, highest * (highest / lowest * 2) ** 0.35
    start = 0.0
    if axis.start == "lowest":
        start = lowest - 0.3 * ((highest - lowest) or abs(highest) or 1.0)
    return start, highest + 0.3 * ((highest - start) or 1.0)


def _start(values: Sequence[Interval]) -> Literal["zero", "powers"]:
    """Powers of ten where the values, all above 0, differ by more than a factor of 20."""
    found = [interval.value for interval in values]
    return "powers" if found and min(found) > 0 and max(found) > 20 * min(found) else "zero"


def _missing(run: Run) -> str:
    """Why a run has no deviation."""
    return "one sample only" if run.mc == 1 else "-"


def _exact(value: float) -> Interval:
    return Interval(value, None, None)


def _colour(run: Run, *, averaged: bool) -> str:
    if run.method in {"cnn", "wgan-gp"}:
        return DIRECT
    return AVERAGED if averaged else SINGLE
