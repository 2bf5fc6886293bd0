"""The figure of a tuning: error, similarity and spread of every sampler against its evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mrct_runtime.evaluation.figures.drawing import NORMAL, SMALL, figure, save
from mrct_runtime.evaluation.tuning import Curve, Point, Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE: Final = "tuning.png"

# Okabe and Ito's colours, and a marker each for prints without colour.
_STYLES: Final = (
    ("#000000", "o"),
    ("#E69F00", "s"),
    ("#56B4E9", "^"),
    ("#009E73", "D"),
    ("#0072B2", "v"),
    ("#D55E00", "P"),
    ("#CC79A7", "X"),
    ("#999999", "*"),
)
_GREY: Final = "#999999"
_ROOM: Final = 0.8
"""Of the range of what must be seen, shown on either side of it."""


class _Panel(NamedTuple):
    title: str
    value: Callable[[Curve, Point], float]
    ends: tuple[float, float]
    """Between which values the panel ends in any case."""


def draw(tuning: Tuning, path: Path) -> None:
    """Draws the three panels; open circles are the references, rings the choices."""
    drawn = figure(3.1)
    drawn.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    axes = drawn.subplots(1, 3)
    panels = (
        _Panel("MAE of the averaged image, HU", lambda _, point: point.mae_hu, (0, float("inf"))),
        _Panel("SSIM of the averaged image", lambda _, point: point.ssim, (0, 1)),
        _Panel("mean deviation / reference's", lambda each, point: each.spread(point), (0, 2)),
    )
    for ax, panel in zip(axes, panels, strict=True):
        for each, (colour, marker) in zip(tuning.curves, _STYLES, strict=False):
            _draw_curve(ax, each, panel, colour, marker)
        _finish(ax, panel, tuning.curves)
    tolerance = tuning.tolerance.deviation
    axes[2].axhspan(1 - tolerance, 1 + tolerance, color=_GREY, alpha=0.25, linewidth=0)
    handles, names = axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=8, fontsize=SMALL, frameon=False)  # fmt: skip
    save(drawn, path)


def _draw_curve(ax: Axes, each: Curve, panel: _Panel, colour: str, marker: str) -> None:
    shown = [*each.points, each.reference]
    x = [point.evaluations for point in shown]
    y = [panel.value(each, point) for point in shown]
    ax.plot(x, y, color=colour, linewidth=0.9)
    ax.plot(x[:-1], y[:-1], color=colour, marker=marker, markersize=3, linewidth=0.9, label=each.sampler)  # fmt: skip
    ax.plot(x[-1:], y[-1:], color=colour, marker=marker, markersize=4, markerfacecolor="white")
    if each.chosen is not None:
        place = [x[each.chosen]], [y[each.chosen]]
        ax.plot(*place, color=colour, marker="o", markersize=9, markerfacecolor="none")


def _finish(ax: Axes, panel: _Panel, curves: Sequence[Curve]) -> None:
    ax.set_xscale("log")
    ax.set_ylim(*_limits(panel, curves))
    ax.set_title(panel.title, fontsize=NORMAL)
    ax.set_xlabel("evaluations a sample", fontsize=SMALL, labelpad=1)
    ax.tick_params(labelsize=SMALL, length=2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=_GREY, alpha=0.2, linewidth=0.4)


def _limits(panel: _Panel, curves: Sequence[Curve]) -> tuple[float, float]:
    """Those of references, choices and longest runs, with room around: a run of five steps may be far off the chart."""
    shown = [
        (each, point)
        for each in curves
        for point in (each.reference, each.choice, *each.points[-1:])
        if point is not None
    ]
    values = [panel.value(each, point) for each, point in shown]
    low, high = min(values), max(values)
    room = _ROOM * (high - low) or 0.1 * abs(high)
    return max(panel.ends[0], low - room), min(panel.ends[1], high + room)
