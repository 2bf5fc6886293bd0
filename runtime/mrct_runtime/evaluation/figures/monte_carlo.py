"""Figure 2: samples of one slice that differ in their noise only, their average, its error and their deviation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mrct_runtime.evaluation.figures.cases import error_scale, mae_hu, name_of, std_scale
from mrct_runtime.evaluation.figures.drawing import (
    HU,
    HU_WINDOW,
    NORMAL,
    Crop,
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
from mrct_runtime.evaluation.results import Pictures

FILE: Final = "figure-2-monte-carlo.png"
TITLE: Final = "Monte Carlo samples, their average and their deviation"
_SAMPLES: Final = 4


def draw(case: Sequence[Pictures], path: Path) -> str | None:
    """Draws the figure of one slice and returns its caption; None where no run has more than one sample."""
    rows = [pictures for pictures in case if len(pictures.samples) > 1]
    if not rows:
        return None
    count = min(_SAMPLES, *(len(pictures.samples) for pictures in rows))
    crop = around(rows[0].body)
    drawn, axes = panels([Row(crop)] + [Row(crop, above=0.04)] * len(rows), count + 3)
    error = error_scale([pictures.mean for pictures in rows], rows)
    std = std_scale(rows)
    for row, pictures in enumerate(rows, start=1):
        _draw_row(axes[row], pictures, crop, error, std)
    _name_columns(axes[1], count)
    show(axes[0, 0], crop.of(rows[0].mr), bright(rows[0].mr), "MR")
    show(axes[0, 1], crop.of(rows[0].truth), HU, "CT")
    colour_bar(axes[0, 2], axes[0, 1], "CT, HU")
    for ax in axes[0, 3:-2]:
        ax.set_axis_off()
    colour_bar(axes[0, -2], axes[1, -2], "average - CT, HU")
    colour_bar(axes[0, -1], axes[1, -1], "deviation, HU", "max")
    save_images(drawn, path)
    return (
        f"{name_of(rows)}. Rows: samplers. Columns: {count} of {_counts(rows)} samples of the same MR, which differ in "
        "their noise only, the average of all samples, its signed error against the true CT, and the pixelwise "
        f"standard deviation of the samples. CT, samples and averages are shown over {HU_WINDOW}; all rows share one "
        "scale of errors and one of deviations. The number under a panel is its mean absolute error, or its mean "
        "deviation, in the body of this slice."
    )


def _draw_row(axes: Any, pictures: Pictures, crop: Crop, error: Scale, std: Scale) -> None:
    name_row(axes[0], pictures.label)
    for ax, sample in zip(axes[:-3], pictures.samples, strict=False):
        show(ax, crop.of(sample), HU, "", f"MAE {mae_hu(sample, pictures):.1f}")
    mean = pictures.mean
    show(axes[-3], crop.of(mean), HU, "", f"MAE {mae_hu(mean, pictures):.1f}")
    show(axes[-2], crop.of(mean - pictures.truth), error)
    body = pictures.body if pictures.body.any() else ...
    show(axes[-1], crop.of(pictures.std), std, "", f"{pictures.std[body].mean():.1f} HU")


def _name_columns(axes: Any, count: int) -> None:
    names = [*(f"sample {k + 1}" for k in range(count)), "average (-M)", "error", "deviation"]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, fontsize=NORMAL, pad=2)


def _counts(rows: Sequence[Pictures]) -> str:
    """The samples a run, "10", or "4 to 10" where runs differ."""
    counts = sorted({len(pictures.samples) for pictures in rows})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
