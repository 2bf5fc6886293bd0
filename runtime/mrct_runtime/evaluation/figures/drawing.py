"""How the figures of an evaluation look: sizes, colours, grey scales, and panels without axes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array
from mrct_runtime.atomic import write_atomically
from mrct_runtime.preview import BONE, CAPTION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 7.2
"""A page's width in inches: a figure is drawn at the size it is printed, so its letters keep theirs."""

SMALL, NORMAL = 6.5, 8.0
"""Letters in points."""

DPI: Final = 200

# Inches: the rows' names, the space between columns, the notice above everything.
_NAMES, _GAP, _HEADING = 0.2, 0.05, 0.2

# Okabe and Ito's colours, which colour-blind eyes tell apart.
SINGLE, AVERAGED, DIRECT = "#56B4E9", "#0072B2", "#E69F00"
BOXES: Final = "#D55E00"


class Scale(NamedTuple):
    """Which values are shown with the first and the last colour of a map."""

    low: float
    high: float
    colours: str = "gray"


HU: Final = Scale(*BONE.limits)
"""One grey scale for every CT, true or synthetic."""

HU_WINDOW: Final = f"[{HU.low:.0f}, {HU.high:.0f}] HU"


class Crop(NamedTuple):
    """Rows and columns of an image that a panel shows."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, image: Array) -> Array:
        """The part of the image [..., H, W]."""
        return image[..., self.top : self.bottom, self.left : self.right]


class Row(NamedTuple):
    """A row of panels: the crop that each shows, and the inches kept free above and below for lines of text."""

    crop: Crop
    above: float = 0.18
    below: float = 0.16


def around(body: Array, margin: int = 3) -> Crop:
    """The smallest crop that holds the body [H, W] and a margin of pixels; the whole image where there is no body."""
    height, width = body.shape
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    if not rows.size:
        return Crop(0, height, 0, width)
    return Crop(
        max(int(rows[0]) - margin, 0),
        min(int(rows[-1]) + 1 + margin, height),
        max(int(columns[0]) - margin, 0),
        min(int(columns[-1]) + 1 + margin, width),
    )


def figure(height: float) -> Figure:
    """A figure of a page's width and so many inches' height that belongs to no window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=DPI)


def panels(rows: Sequence[Row], columns: int) -> tuple[Figure, NDArray[Any]]:
    """A figure of a page's width and its panels [rows, columns], each row as high as its crop is shown."""
    wide = (WIDTH - 2 * _NAMES - _GAP * (columns - 1)) / columns
    highs = [wide * (crop.bottom - crop.top) / (crop.right - crop.left) for crop, *_ in rows]
    height = _HEADING + sum(highs) + sum(row.above + row.below for row in rows) + _GAP
    drawn, axes = figure(height), np.empty((len(rows), columns), object)
    bottom = height - _HEADING
    for i, (row, high) in enumerate(zip(rows, highs, strict=True)):
        bottom -= row.above + high
        for k in range(columns):
            left = _NAMES + k * (wide + _GAP)
            box = (left / WIDTH, bottom / height, wide / WIDTH, high / height)
            axes[i, k] = drawn.add_axes(box)
        bottom -= row.below
    return drawn, axes


def show(ax: Axes, image: Array, scale: Scale, title: str = "", below: str = "") -> None:
    """The image [H, W] in a panel without ticks; `below` is a small line under it."""
    ax.imshow(image, cmap=scale.colours, vmin=scale.low, vmax=scale.high)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title, fontsize=NORMAL, pad=2)
    if below:
        ax.set_xlabel(below, fontsize=SMALL, labelpad=1.5)


def name_row(ax: Axes, name: str) -> None:
    """Writes the row's name up its first panel's left side."""
    ax.set_ylabel(name, fontsize=NORMAL, labelpad=3)


def colour_bar(ax: Axes, panel: Axes, label: str, extend: Literal["both", "max"] = "both") -> None:
    """Fills an empty panel with a bar and its unit, for what the other panel shows."""
    ax.set_axis_off()
    inset = ax.inset_axes((0.08, 0.4, 0.84, 0.07))
    image = panel.images[0]
    low, high = image.get_clim()
    bar = ax.figure.colorbar(image, cax=inset, orientation="horizontal", extend=extend)
    bar.set_ticks([low, (low + high) / 2, high])
    inset.tick_params(labelsize=SMALL, length=2, pad=1)
    inset.set_title(label, fontsize=SMALL, pad=2)


def bright(image: Array) -> Scale:
    """The MR's grey scale: 0 black, all but the brightest half per cent below white."""
    return Scale(0.0, max(float(np.percentile(image, 99.5)), 1e-6))


def round_up(value: float) -> float:
    """The value, or a little more, as 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten, for the end of a colour bar."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    steps = np.array([1, 1.5, 2, 3, 4, 5, 6, 8, 10])
    return float(power * steps[np.searchsorted(steps, value / power - 1e-9)])


def save(drawn: Figure, path: Path) -> None:
    """Writes the PNG; the same values give the same file."""
    picture = io.BytesIO()
    drawn.savefig(picture, format="png", metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def save_images(drawn: Figure, path: Path) -> None:
    """Writes the PNG of synthetic images, with the notice and the grey scale above them."""
    height = drawn.get_figheight()
    heading = f"{CAPTION}     every CT over {HU_WINDOW}"
    drawn.text(0.5, 1 - 0.05 / height, heading, fontsize=SMALL, ha="center", va="top")
    save(drawn, path)
