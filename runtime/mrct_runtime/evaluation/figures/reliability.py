"""Figure 5: the errors that the deviation promises against those met, and how much of the truth its intervals hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mrct_runtime.evaluation.calibration import Calibration, Reliability
from mrct_runtime.evaluation.figures.drawing import NORMAL, SMALL, figure, save
from mrct_runtime.evaluation.known import calibrations
from mrct_runtime.evaluation.results import EVERYONE, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE: Final = "figure-5-reliability.png"
TITLE: Final = "What the deviation is worth"
_COLUMNS: Final = 4
# Okabe and Ito's colours again, and a marker each for prints without colour.
_STYLES: Final = {
    EVERYONE: ("#000000", "o"),
    "air": ("#56B4E9", "^"),
    "soft": ("#009E73", "s"),
    "bone": ("#D55E00", "D"),
}
_DASHES: Final = ("-", "--", ":", "-.")


def draw(evaluation: Evaluation, path: Path) -> str | None:
    """Draws the figure and returns its caption; None where no run's deviation was held against its error."""
    known = {run.label: found for run in evaluation.runs if (found := calibrations(run))}
    if not known:
        return None
    columns = min(len(known), _COLUMNS)
    bands = -(-len(known) // columns)
    drawn = figure(3.6 * bands + 0.4)
    drawn.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    axes = drawn.subplots(2 * bands, columns, squeeze=False)
    tiles = axes.reshape(bands, 2, columns).transpose(0, 2, 1).reshape(-1, 2)
    for pair, (label, found) in zip(tiles, known.items(), strict=False):
        _draw_errors(pair[0], found)
        _draw_coverage(pair[1], found)
        pair[0].set_title(label, fontsize=NORMAL)
    for ax in tiles[len(known) :].flat:
        ax.set_axis_off()
    lines = {line.get_label(): line for pair in tiles for line in pair[1].get_lines()}
    handles = [line for label, line in lines.items() if not str(label).startswith("_")]
    drawn.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=SMALL, frameon=False)  # fmt: skip
    save(drawn, path)
    return (
        "Above: voxels in bins of like deviation; the error that a bin's deviation promises against the root mean square "
        "error met there. Below: the share of voxels whose true HU lies inside an interval against the interval's nominal "
        f"probability; whiskers are {100 * evaluation.conditions.confidence:g} % bootstrap intervals over subjects. On the "
        "grey line the deviation is worth what it says; points above it in the upper row, and below it in the lower, "
        "mean that it is too small. Tissues are told apart by the averaged image."
    )


def _draw_errors(ax: Axes, found: Mapping[str, Calibration]) -> None:
    shown = _shown(found)
    values = [part for _, _, one in shown for part in one.bins]
    end = 1.05 * max([1.0, *(max(part.promised_hu, part.rmse_hu) for part in values)])
    ax.plot((0, end), (0, end), color="#999999", linewidth=0.8)
    for style, label, one in shown:
        promised, met = zip(*((part.promised_hu, part.rmse_hu) for part in one.bins), strict=True)
        ax.plot(promised, met, label=label, **style)
    ax.set_xlim(0, end)
    ax.set_ylim(0, end)
    _finish(ax, "error promised, HU", "error met, HU")


def _draw_coverage(ax: Axes, found: Mapping[str, Calibration]) -> None:
    ax.plot((0, 100), (0, 100), color="#999999", linewidth=0.8)
    for style, label, one in _shown(found):
        nominal = [float(name) for name in one.coverage]
        ax.plot(nominal, [100 * each.value for each in one.coverage.values()], label=label, **style)
        for x, each in zip(nominal, one.coverage.values(), strict=True):
            if each.low is not None and each.high is not None:
                ax.plot((x, x), (100 * each.low, 100 * each.high), color=style["color"], linewidth=0.8)  # fmt: skip
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    _finish(ax, "nominal, %", "inside the interval, %")


def _shown(found: Mapping[str, Calibration]) -> Sequence[tuple[dict[str, Any], str, Reliability]]:
    """The curves: every tissue of the first calibration, and of the others all tissues together."""
    curves = []
    for (name, one), dashes in zip(found.items(), _DASHES, strict=False):
        for tissue, reliability in one.tissues.items():
            if dashes != _DASHES[0] and tissue != EVERYONE:
                continue
            colour, marker = _STYLES[tissue]
            style = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 3, "linewidth": 1}  # fmt: skip
            if dashes != _DASHES[0]:
                style["markerfacecolor"] = "white"
            curves.append((style, f"{tissue}, {name}", reliability))
    # the curves of all tissues together lie on top
    return sorted(curves, key=lambda curve: curve[1].startswith(EVERYONE))


def _finish(ax: Axes, x: str, y: str) -> None:
    ax.set_box_aspect(1)
    ax.set_xlabel(x, fontsize=SMALL, labelpad=1)
    ax.set_ylabel(y, fontsize=SMALL, labelpad=1)
    ax.tick_params(labelsize=SMALL, length=2)
    ax.spines[["top", "right"]].set_visible(False)
