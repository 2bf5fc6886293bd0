"""Figure 4: every method's image of one slice, the same small part of each enlarged, and its errors there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.evaluation.figures.cases import error_scale, mae_hu, name_of
from mrct_runtime.evaluation.figures.drawing import (
    BOXES,
    HU,
    HU_WINDOW,
    Crop,
    Row,
    Scale,
    around,
    bright,
    colour_bar,
    panels,
    save_images,
    show,
)
from mrct_runtime.evaluation.results import Pictures
from mrct_runtime.evaluation.tissue import tissues

TITLE: Final = "The methods compared on one slice"
_COLUMNS: Final = 6
_SHARE: Final = 4
_DIRECT: Final = frozenset({"cnn", "wgan-gp"})


class _Image(NamedTuple):
    label: str
    hu: Array


def file_of(case: int) -> str:
    """The file's name of the slice with this index."""
    return f"figure-4-comparison-{case + 1}.png"


def draw(case: Sequence[Pictures], path: Path) -> str:
    """Draws the figure of one slice and returns its caption."""
    first, images = case[0], _images(case)
    whole = around(first.body)
    zoom = zoom_box(first.truth, first.body, [image.hu for image in images])
    columns = min(len(images) + 2, _COLUMNS)
    band = [Row(whole, below=0.03), Row(zoom, 0.03, 0.03), Row(zoom, 0.03, 0.22)]
    bands = -(-(len(images) + 2) // columns)
    drawn, axes = panels(band * bands, columns)
    # [tile, 3]: the tiles fill the page in reading order, each three panels high
    tiles = axes.reshape(bands, 3, columns).transpose(0, 2, 1).reshape(-1, 3)
    _draw_tile(tiles[0], first.mr, bright(first.mr), "MR", (whole, zoom))
    _draw_tile(tiles[1], first.truth, HU, "CT", (whole, zoom))
    error = error_scale([image.hu for image in images], case)
    for panel, (label, hu) in zip(tiles[2:], images, strict=False):
        _draw_tile(panel, hu, HU, label, (whole, zoom))
        show(panel[2], zoom.of(hu - first.truth), error, "", f"MAE {mae_hu(hu, first):.1f} HU")
    for ax in tiles[len(images) + 2 :].flat:
        ax.set_axis_off()
    colour_bar(tiles[0, 2], tiles[1, 0], "CT, HU")
    colour_bar(tiles[1, 2], tiles[2, 2], "error, HU")
    save_images(drawn, path)
    place = (
        "the true CT has most bone"
        if _bone(first.truth, first.body).any()
        else "the results differ most"
    )
    return (
        f"{name_of(case)}. For every method: the whole slice, the boxed part enlarged, and that part's signed error "
        f"against the true CT. The box is where {place}. CT and results are shown over {HU_WINDOW}, "
        "all errors over one scale; the number under a method is its mean absolute error in the body of this slice. "
        "A label that ends in -M is the average of all samples, any other diffusion result one single sample."
    )


def zoom_box(truth: Array, body: Array, results: Sequence[Array]) -> Crop:
    """The square, a quarter of the body's longer side, that holds most bone of the true CT.

    The truth alone decides, so that no method is flattered; where it has no bone, the results' spread does.
    """
    crop = around(body)
    side = max(-(-max(crop.bottom - crop.top, crop.right - crop.left) // _SHARE), 8)
    side = min(side, crop.bottom - crop.top, crop.right - crop.left)
    weight = _bone(truth, body).astype(np.float64)
    if not weight.any():
        weight = np.std(np.asarray(results, np.float64), axis=0) * body
    sums = np.lib.stride_tricks.sliding_window_view(crop.of(weight), (side, side)).sum(axis=(2, 3))
    row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
    top, left = crop.top + int(row), crop.left + int(column)
    return Crop(top, top + side, left, left + side)


def _bone(truth: Array, body: Array) -> Array:
    return np.asarray(tissues(truth)["bone"] & body)


def _images(case: Sequence[Pictures]) -> list[_Image]:
    """The results in the order of the panels: the direct networks, then single sample and average of every sampler."""
    ordered = sorted(case, key=lambda pictures: pictures.method not in _DIRECT)
    images = []
    for pictures in ordered:
        images.append(_Image(pictures.label, pictures.samples[0]))
        if len(pictures.samples) > 1:
            images.append(_Image(pictures.label_of_mean, pictures.mean))
    return images


def _draw_tile(axes: Any, image: Array, scale: Scale, label: str, crops: tuple[Crop, Crop]) -> None:
    """The whole image with its box, and the box's content below it."""
    from matplotlib.patches import Rectangle

    whole, zoom = crops
    show(axes[0], whole.of(image), scale, label)
    show(axes[1], zoom.of(image), scale)
    corner = (zoom.left - whole.left - 0.5, zoom.top - whole.top - 0.5)
    size = (zoom.right - zoom.left, zoom.bottom - zoom.top)
    axes[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor=BOXES, linewidth=0.8))
    axes[1].spines[:].set(visible=True, color=BOXES, linewidth=0.8)
