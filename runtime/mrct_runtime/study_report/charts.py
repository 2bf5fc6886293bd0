"""Charts of a report as SVG inside the page: they take the page's own colours, in the dark too, and any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.evaluation.calibration import Bin
from mrct_runtime.evaluation.figures.drawing import round_up
from mrct_runtime.evaluation.tissue import AIR_BELOW_HU, BONE_ABOVE_HU
from mrct_runtime.intensity import HuWindow
from mrct_runtime.study_report.thinned import Thinned

WIDTH: Final = 440
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 14.0, 40.0
_BIN_HU: Final = 40.0
_PERCENTILES: Final = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the drawing and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """From values to places in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, values: Sequence[float]) -> tuple[Tick, ...]:
        """Marks at these values."""
        return tuple(Tick(self(value), f"{value:g}") for value in values)


@dataclass(frozen=True)
class Histogram:
    """Counts of the body's voxels by HU, logarithmic: outlines of the synthetic and the true CT, and the HU window."""

    height: float
    area: str
    line: str | None
    window: tuple[float, float]
    tissues: tuple[Tick, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]


@dataclass(frozen=True)
class Box:
    """The deviation in one tissue: its share of the body and the places of five percentiles."""

    name: str
    at: float
    share: str
    text: str
    places: tuple[float, ...]


@dataclass(frozen=True)
class Boxes:
    """The deviation by tissue, one below the other."""

    height: float
    boxes: tuple[Box, ...]
    x: tuple[Tick, ...]


@dataclass(frozen=True)
class Worth:
    """The error that the deviation promises against that met, one point for each tenth of the voxels."""

    height: float
    points: tuple[tuple[float, float], ...]
    diagonal: tuple[float, float, float, float]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]


def histogram(
    hu: Iterable[NDArray[Any]], truth: Iterable[NDArray[Any]] | None, window: HuWindow
) -> Histogram:
    """That of the body's voxels, part [N] after part, beside the true CT's where there is one."""
    height = 250.0
    low, high = window.low - 200, window.high + 200
    edges = np.arange(low, high + _BIN_HU, _BIN_HU)
    counts = _counts(hu, edges)
    others = None if truth is None else _counts(truth, edges)
    top = max(float(counts.max()), 1.0 if others is None else float(others.max()))
    decades = math.ceil(math.log10(max(top, 10.0)))
    x = Axis(low, high, LEFT, WIDTH - RIGHT)
    y = Axis(0, decades, height - BOTTOM, TOP)
    outline = _steps(edges, counts, x, y)
    base = f"{y(0)}"
    return Histogram(
        height=height,
        area=f"{x(edges[0])},{base} {outline} {x(edges[-1])},{base}",
        line=None if others is None else _steps(edges, others, x, y),
        window=(x(window.low), x(window.high)),
        tissues=x.ticks((AIR_BELOW_HU, BONE_ABOVE_HU)),
        x=x.ticks([v for v in range(-1000, 4000, 1000) if low <= v <= high]),
        y=tuple(Tick(y(k), _power(k)) for k in range(decades + 1)),
    )


def boxes(std: Mapping[str, Thinned], total: int) -> Boxes:
    """Of the deviations of each tissue that the body of so many voxels has."""
    found = {
        name: np.percentile(some.values, _PERCENTILES) for name, some in std.items() if some.size
    }
    end = round_up(max((float(each[-1]) for each in found.values()), default=1.0) or 1.0)
    x = Axis(0, end, 124.0, WIDTH - RIGHT)
    drawn = tuple(
        Box(
            name=name,
            at=TOP + 22 + 46 * k,
            share=f"{std[name].size / max(total, 1):.1%} of the body",
            text=f"median {each[2]:.0f}, 95 % below {each[4]:.0f} HU",
            places=tuple(x(float(value)) for value in each),
        )
        for k, (name, each) in enumerate(found.items())
    )
    height = TOP + 46 * len(drawn) + BOTTOM
    return Boxes(height, drawn, x.ticks(_marks(end)))


def worth(bins: Sequence[Bin]) -> Worth:
    """The points of a reliability diagram."""
    height = 300.0
    end = round_up(max(max(each.promised_hu, each.rmse_hu) for each in bins))
    x = Axis(0, end, LEFT, WIDTH - RIGHT)
    y = Axis(0, end, height - BOTTOM, TOP)
    marks = _marks(end)
    return Worth(
        height=height,
        points=tuple((x(each.promised_hu), y(each.rmse_hu)) for each in bins),
        diagonal=(x(0), y(0), x(end), y(end)),
        x=x.ticks(marks),
        y=y.ticks(marks),
    )


def _counts(hu: Iterable[NDArray[Any]], edges: NDArray[Any]) -> NDArray[Any]:
    """Voxels in each bin; those beyond the drawing count in its first and last."""
    counts = np.zeros(len(edges) - 1, int)
    for part in hu:
        counts += np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0]
    return counts


def _steps(edges: NDArray[Any], counts: NDArray[Any], x: Axis, y: Axis) -> str:
    """The outline of the bars as an SVG polyline; a bin of one voxel stands a little above the axis."""
    return " ".join(_corners(edges, counts, x, y))


def _corners(edges: NDArray[Any], counts: NDArray[Any], x: Axis, y: Axis) -> Iterator[str]:
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        level = y(math.log10(count) if count > 1 else 0.06 * count)
        yield f"{x(left)},{level}"
        yield f"{x(right)},{level}"


def _marks(end: float) -> list[float]:
    """From 0 to a rounded end in three to five equal steps that are round too."""
    leading = round(end / 10.0 ** math.floor(math.log10(end)) * 2)
    parts = {3: 3, 6: 3, 12: 3, 4: 4, 8: 4, 16: 4}.get(leading, 5)
    return [end * k / parts for k in range(parts + 1)]


def _power(k: int) -> str:
    """10^k as axes show it."""
    thousands, rest = divmod(k, 3)
    return f"{10**rest}{('', ' k', ' M', ' G')[thousands]}"
