"""Pictures of a result: one slice in detail, and all slices at a glance."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.percentiles import percentile
from mrct_runtime.scratch import slices

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mrct_runtime.arrays import Array
    from mrct_runtime.volume import Volume

CAPTION = "SYNTHETIC CT - RESEARCH USE ONLY"
_TILE_PIXELS = 160
_LETTERS = (
    ("R", 0.01, 0.5, "left", "center"),
    ("L", 0.99, 0.5, "right", "center"),
    ("A", 0.5, 0.99, "center", "top"),
    ("P", 0.5, 0.01, "center", "bottom"),
)
_LETTER = "#ffd84d"
_DPI = 110


class DisplayWindow(NamedTuple):
    """A grey scale in HU, black to white, by its centre and width."""

    name: str
    centre: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """The HU shown black and white."""
        return self.centre - self.width / 2, self.centre + self.width / 2


SOFT_TISSUE = DisplayWindow("soft tissue", 40, 400)
BONE = DisplayWindow("bone", 400, 1800)


def pictures(mr: Volume, mean_hu: Volume, std_hu: Volume) -> tuple[NDArray[np.uint8], ...]:
    """Both, as RGB images [H, W, 3]."""
    from matplotlib.image import imread

    drawn = BytesIO(), BytesIO()
    write_slice(mr, mean_hu, std_hu, drawn[0])
    write_montage(mean_hu, std_hu, drawn[1])
    for file in drawn:
        file.seek(0)
    return tuple(np.rint(imread(file)[..., :3] * 255).astype(np.uint8) for file in drawn)


def write_slice(mr: Volume, mean_hu: Volume, std_hu: Volume, path: Path | BytesIO) -> None:
    """A PNG of the middle slice: MR, mean in a soft-tissue and a bone window, standard deviation in HU."""
    figure = _figure(14.4, 4.2)
    axes = figure.subplots(1, 4)
    s = mr.array.shape[0] // 2
    aspect = mr.grid.spacing_mm[1] / mr.grid.spacing_mm[2]
    _show(axes[0], mr.array[s], "MR", (0.0, _bright(mr.array[s])), aspect)
    for ax, window in zip(axes[1:3], (SOFT_TISSUE, BONE), strict=True):
        low, high = window.limits
        title = f"mean, {window.name} [{low:.0f}, {high:.0f}] HU"
        _show(ax, mean_hu.array[s], title, window.limits, aspect)
    _show(axes[3], std_hu.array[s], "standard deviation", _spread(std_hu.array), aspect, "viridis")
    figure.colorbar(axes[3].images[0], ax=axes[3], label="HU", shrink=0.8)
    _save(figure, f"slice {s + 1} of {mr.array.shape[0]}", path)


def write_montage(mean_hu: Volume, std_hu: Volume, path: Path | BytesIO) -> None:
    """A PNG of every slice: the means on the left, the standard deviations on the right."""
    figure = _figure(14.4, 7.6)
    axes = figure.subplots(1, 2)
    aspect = mean_hu.grid.spacing_mm[1] / mean_hu.grid.spacing_mm[2]
    low, high = limits = (-250.0, 750.0)
    title = f"mean [{low:.0f}, {high:.0f}] HU"
    _show(axes[0], _tiles(mean_hu.array), title, limits, aspect, lettered=False)
    tiles, spread = _tiles(std_hu.array), _spread(std_hu.array)
    _show(axes[1], tiles, "standard deviation", spread, aspect, "viridis", lettered=False)
    figure.colorbar(axes[1].images[0], ax=axes[1], label="HU", shrink=0.8)
    what = f"{mean_hu.array.shape[0]} slices from the feet up, each with the patient's right on the left"
    _save(figure, what, path)


def _figure(width: float, height: float) -> Figure:
    """A figure that belongs to no window system: pyplot would look for a display and keep it alive."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="compressed")


def _show(
    ax: Axes,
    image: Array,
    title: str,
    limits: tuple[float, float],
    aspect: float,
    colours: str = "gray",
    *,
    lettered: bool = True,
) -> None:
    ax.imshow(image, cmap=colours, vmin=limits[0], vmax=limits[1], aspect=aspect)
    # canonical rows and columns run to the patient's back and left
    for letter, x, y, across, up in _LETTERS if lettered else ():
        ax.text(x, y, letter, transform=ax.transAxes, ha=across, va=up, fontsize=9, color=_LETTER)
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
    # the axes are not drawn either way, but their ticks would be laid out
    ax.xaxis.set_visible(False)
    ax.yaxis.set_visible(False)


def _save(figure: Figure, what: str, path: Path | BytesIO) -> None:
    figure.suptitle(f"{CAPTION}   {what}", fontsize=10)
    # without the software's version in it the same pixels give the same file
    figure.savefig(path, format="png", bbox_inches="tight", metadata={"Software": None})


def _bright(image: Array) -> float:
    """The MR intensity shown white; a few vessels and the coil's hot spots may saturate."""
    return max(float(np.percentile(image, 99.5)), 1e-6)


def _spread(std_hu: Array) -> tuple[float, float]:
    return 0.0, max(float(percentile(lambda: slices(std_hu), 99.5)), 1.0)


def _tiles(stack: Array) -> Array:
    """The slices [S, H, W] side by side in one image, thinned out to tiles of at most 160 pixels."""
    stride = math.ceil(max(stack.shape[1:]) / _TILE_PIXELS)
    small = np.stack([image[::stride, ::stride].copy() for image in slices(stack)])
    count, height, width = small.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * columns, height, width), small.min(), small.dtype)
    canvas[:count] = small
    return (
        canvas.reshape(rows, columns, height, width)
        .transpose(0, 2, 1, 3)
        .reshape(rows * height, columns * width)
    )
