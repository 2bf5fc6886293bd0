"""The pictures of a report as PNGs inside the page: MR, synthetic CT, uncertainty, and a true CT where there is one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.evaluation.figures.drawing import round_up
from mrct_runtime.html import embedded
from mrct_runtime.preview import BONE, SOFT_TISSUE
from mrct_runtime.result import Result
from mrct_runtime.scratch import slices
from mrct_runtime.study_report.comparison import Comparison
from mrct_runtime.study_report.planes import Plane, at_slice, planes
from mrct_runtime.study_report.thinned import Thinned, thinned

SPREAD_COLOURS: Final = "plasma"
ERROR_COLOURS: Final = "RdBu_r"
LEAST_SPREAD_HU: Final = 100.0
LEAST_ERROR_HU: Final = 200.0
"""Colours go at least so far, so that a sure result looks calm and results can be compared."""
_OPAQUE: Final = 0.75
_PERCENT: Final = 99.0
_BRIGHT: Final = 99.5


@dataclass(frozen=True)
class Bar:
    """A colour bar: CSS colours from its low to its high end, in HU."""

    label: str
    low: float
    high: float
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """An image with its title, as a data URL; `alt` describes it, `bar` explains its colours."""

    title: str
    source: str
    width: int
    height: int
    alt: str
    bar: Bar | None = None


@dataclass(frozen=True)
class Row:
    """The pictures of one plane, and the letters at their edges."""

    title: str
    edges: tuple[str, str, str, str]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Images:
    """The volumes [S, H, W] on the canonical grid, and where their grey scales and colours end."""

    mr: NDArray[Any]
    mean: NDArray[Any]
    std: NDArray[Any]
    body: NDArray[np.bool_]
    truth: NDArray[Any] | None
    error_where: NDArray[np.bool_]
    bright: float
    spread: float
    error: float

    @classmethod
    def of(cls, result: Result, comparison: Comparison | None) -> Images:
        """Those of a result."""
        mr, mean, std = (
            volume.grid.canonically(volume.array)
            for volume in (result.source.volume, result.mean_hu, result.std_hu)
        )
        body = result.given.body.array
        truth = None if comparison is None else comparison.truth
        where = body if comparison is None else comparison.where
        error = 0.0 if truth is None else _error_end(mean, truth, where)
        return cls(
            mr=mr,
            mean=mean,
            std=std,
            body=body,
            truth=truth,
            error_where=where,
            bright=max(thinned(mr, lambda: slices(body)).percentile(_BRIGHT), 1e-6),
            spread=max(
                round_up(thinned(std, lambda: slices(body)).percentile(_PERCENT)), LEAST_SPREAD_HU
            ),
            error=max(round_up(error), LEAST_ERROR_HU),
        )


def rows(result: Result, images: Images) -> tuple[Row, ...]:
    """The three planes through the body's centre, and the axial slice in which the samples disagree most."""
    through = planes(images.body, result.given.body.grid)
    axial = through[0]
    found = [
        (f"Axial, {axial.where}", axial),
        *((f"{each.name.capitalize()}, through the body's centre", each) for each in through[1:]),
    ]
    unsure = _least_sure(images.std, images.body)
    if unsure is not None and unsure != axial.index:
        plane = at_slice(axial, unsure)
        found.append((f"Where the model is least sure: axial, {plane.where}", plane))
    return tuple(Row(title, plane.edges, _pictures(plane, images)) for title, plane in found)


def _pictures(plane: Plane, images: Images) -> tuple[Picture, ...]:
    picture = partial(_picture, plane)
    mean = plane.cut(images.mean)
    shown = [
        picture("Input MR", _grey(plane.cut(images.mr), 0.0, images.bright)),
        *(
            picture(f"Synthetic CT, {window.name}", _grey(mean, *window.limits))
            for window in (SOFT_TISSUE, BONE)
        ),
        picture("Uncertainty over the CT", _spread(plane, images, mean), _spread_bar(images)),
    ]
    if images.truth is not None:
        truth = plane.cut(images.truth)
        shown += [
            picture(f"True CT, {window.name}", _grey(truth, *window.limits))
            for window in (SOFT_TISSUE, BONE)
        ]
        shown.append(picture("Synthetic - true", _error(plane, images), _error_bar(images)))
    return tuple(shown)


def _picture(
    plane: Plane, title: str, pixels: NDArray[np.uint8], bar: Bar | None = None
) -> Picture:
    height, width = pixels.shape[:2]
    left, right, top, bottom = plane.edges
    alt = f"{title}, {plane.name} {plane.where}; left {left}, right {right}, top {top}, bottom {bottom}"
    return Picture(title, embedded(_png(pixels)), width, height, alt, bar)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Grey [H, W] or RGB [H, W, 3] as a PNG; the same pixels give the same bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _grey(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    unit = np.clip((image - low) / (high - low), 0.0, 1.0)
    return np.asarray(np.rint(unit * 255), np.uint8)


def _spread(plane: Plane, images: Images, mean: NDArray[Any]) -> NDArray[np.uint8]:
    """The deviation in colours over the grey CT; where it is low the CT shows through."""
    std = np.clip(plane.cut(images.std) / images.spread, 0.0, 1.0)
    opacity = np.minimum(std / 0.5, 1.0)[..., None] * _OPAQUE
    grey = _grey(mean, *BONE.limits)[..., None] * 0.8
    return _blend(grey, _coloured(std, SPREAD_COLOURS), opacity)


def _error(plane: Plane, images: Images) -> NDArray[np.uint8]:
    assert images.truth is not None  # only asked for where there is one
    error = plane.cut(np.where(images.error_where, images.mean - images.truth, 0.0))
    unit = np.clip(error / images.error / 2 + 0.5, 0.0, 1.0)
    return np.asarray(np.rint(_coloured(unit, ERROR_COLOURS)), np.uint8)


def _blend(below: NDArray[Any], above: NDArray[Any], opacity: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(below * (1 - opacity) + above * opacity), np.uint8)


def _coloured(unit: NDArray[Any], colours: str) -> NDArray[Any]:
    """Values in [0, 1] as RGB [..., 3] from 0 to 255."""
    from matplotlib import colormaps

    return np.asarray(colormaps[colours](unit)[..., :3]) * 255


def _spread_bar(images: Images) -> Bar:
    return Bar("deviation, HU", 0.0, images.spread, _stops(SPREAD_COLOURS))


def _error_bar(images: Images) -> Bar:
    return Bar("error, HU", -images.error, images.error, _stops(ERROR_COLOURS))


def _stops(colours: str) -> tuple[str, ...]:
    rgb = np.rint(_coloured(np.linspace(0, 1, 9), colours)).astype(int)
    return tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb)


def _error_end(mean: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """The HU that nearly all of the error lies below."""
    synthetic, true = (thinned(array, lambda: slices(where)) for array in (mean, truth))
    error = Thinned(np.abs(synthetic.values - true.values), true.size)
    return error.percentile(_PERCENT)


def _least_sure(std: NDArray[Any], body: NDArray[np.bool_]) -> int | None:
    """The slice with the largest mean deviation inside the body, None where there is no deviation."""
    counts = body.sum(axis=(1, 2))
    sums = np.array(
        [image[mask].sum() for image, mask in zip(slices(std), slices(body), strict=True)]
    )
    # of a slice that shows a corner of the body only, the mean says little
    means = np.where(counts > counts.max() / 4, sums / np.maximum(counts, 1), 0.0)
    return int(means.argmax()) if means.any() else None
