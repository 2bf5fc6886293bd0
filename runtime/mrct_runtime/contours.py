"""Outlines of a mask, slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.intensity import body_mask
from mrct_runtime.scratch import IN_MEMORY, Scratch
from mrct_runtime.volume import FloatArray, Volume


def body(mr: Volume, scratch: Scratch = IN_MEMORY) -> Volume:
    """The mask that the MR was normalised by, bool [S, H, W] in the MR's own order of axes."""
    mask = scratch.empty(mr.grid.shape, bool)
    mr.grid.canonically(mask)[...] = body_mask(mr.canonical(scratch), scratch)
    return Volume(mask, mr.grid)


def outlines(mask: NDArray[np.bool_]) -> tuple[FloatArray, ...]:
    """Closed polygons [n, 2] of (row, column) around every piece of a mask [H, W] without holes; the first point follows the last.

    They run half way between voxel centres inside and outside, so that the centres inside them are the mask.
    """
    from skimage.measure import find_contours

    # without a rim the outline of what touches the image's edge would stay open
    found: list[Any] = find_contours(np.pad(mask, 1).astype(np.float64), 0.5)  # type: ignore[no-untyped-call]
    return tuple(_corners(np.asarray(points[:-1], np.float64) - 1) for points in found)


def _corners(polygon: FloatArray) -> FloatArray:
    """The points at which it turns."""
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return polygon[np.abs(turn) > 1e-9]
