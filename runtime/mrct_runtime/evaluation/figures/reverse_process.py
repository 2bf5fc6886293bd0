"""Figure 1: the states of one sample from noise to image, a row for every sampler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.evaluation.figures.cases import name_of
from mrct_runtime.evaluation.figures.drawing import (
    HU,
    HU_WINDOW,
    Row,
    Scale,
    around,
    bright,
    colour_bar,
    name_row,
    panels,
    save_images,
    show,
)
from mrct_runtime.evaluation.results import Pictures, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE: Final = "figure-1-reverse-process.png"
TITLE: Final = "The reverse process"
_STATES: Final = 6


def draw(case: Sequence[Pictures], path: Path) -> str | None:
    """Draws the figure of one slice and returns its caption; None where no run has states to show."""
    rows = [pictures for pictures in case if pictures.states]
    if not rows:
        return None
    # a state at time 0 is the sample itself, which has its own panel in HU
    shown = [_spaced([state for state in one.states if state.t > 0]) for one in rows]
    # MR, CT and the colour bar need three panels, however few states there are
    columns = max(2, *(len(states) for states in shown)) + 1
    crop = around(rows[0].body)
    drawn, axes = panels([Row(crop)] * (len(rows) + 1), columns)
    show(axes[0, 0], crop.of(rows[0].mr), bright(rows[0].mr), "MR")
    show(axes[0, 1], crop.of(rows[0].truth), HU, "CT")
    colour_bar(axes[0, 2], axes[0, 1], "CT and samples, HU")
    for ax in axes[0, 3:]:
        ax.set_axis_off()
    for row, (pictures, states) in enumerate(zip(rows, shown, strict=True), start=1):
        name_row(axes[row, 0], pictures.label)
        for ax, state in zip(axes[row], states, strict=False):
            _show_state(ax, crop.of(state.image), state.t)
        for ax in axes[row, len(states) : -1]:
            ax.set_axis_off()
        show(axes[row, -1], crop.of(pictures.samples[0]), HU, "sample")
    save_images(drawn, path)
    return (
        f"{name_of(rows)}. First row: the MR, which is the condition, and the true CT. Each "
        "further row: one sample of a sampler on its way from noise at the left to the finished image at the right. "
        "The numbers under a state are the values shown black and white, in the network's units, where 0 to 1 is "
        f"the CT's range; CT and finished samples are shown over {HU_WINDOW}."
    )


def _show_state(ax: Axes, image: Array, t: float) -> None:
    """A state over [0, 1], or as far beyond as 98 % of its pixels go: noise is far wider than an image."""
    low, high = np.percentile(image, (1, 99))
    scale = Scale(min(0.0, round(float(low), 2)), max(1.0, float(high)))
    show(ax, image, scale, f"t = {t:.3g}", f"[{scale.low:.2f}, {scale.high:.2f}]")


def _spaced(states: Sequence[State]) -> list[State]:
    """At most six of the states, the first and the last among them, evenly spread between."""
    if len(states) <= _STATES:
        return list(states)
    return [states[int(i)] for i in np.linspace(0, len(states) - 1, _STATES).round()]
