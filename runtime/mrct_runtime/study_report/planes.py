"""Cuts of a study through a point, in three planes, as screens show them: true proportions, letters at the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrct_runtime.scratch import let_go
from mrct_runtime.volume import Grid

# The long side of a picture; finer images lose nothing that a report's picture could show.
MOST_PIXELS: Final = 420
_MARGIN_MM: Final = 12.0
# A letter is shown for every axis that a direction has more than this share of: 20 degrees.
_OBLIQUE: Final = 0.34
_LETTERS: Final = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True, eq=False)
class Plane:
    """One cut of arrays [S, H, W] on a canonical grid: which index of which axis, and what of it is shown.

    `edges` are the letters at the left, right, top and bottom.
    """

    name: str
    axis: int
    index: int
    count: int
    crop: tuple[slice, slice]
    spacing_mm: tuple[float, float]
    edges: tuple[str, str, str, str]

    def cut(self, array: NDArray[Any], order: int = 1) -> NDArray[Any]:
        """The picture's pixels [rows, columns], square ones, the head up in upright planes."""
        image = np.take(array, self.index, axis=self.axis)[self.crop]
        let_go(array)
        if self.axis:  # rows are slices, which count up to the head
            image = image[::-1]
        rows, columns = (n * mm for n, mm in zip(image.shape, self.spacing_mm, strict=True))
        pixel = max(min(self.spacing_mm), rows / MOST_PIXELS, columns / MOST_PIXELS)
        factors = [mm / pixel for mm in self.spacing_mm]
        shape = [max(1, round(n * f)) for n, f in zip(image.shape, factors, strict=True)]
        exact = [n / m for n, m in zip(shape, image.shape, strict=True)]
        image = image.astype(np.float32)
        return np.asarray(ndimage.zoom(image, exact, order=order, mode="nearest", grid_mode=True))

    @property
    def where(self) -> str:
        """Which of how many, in words; canonical axes run to the head, to the back and to the left."""
        start = ("feet", "front", "right")[self.axis]
        return f"slice {self.index + 1} of {self.count} from the {start}"


def planes(body: NDArray[np.bool_], grid: Grid) -> tuple[Plane, ...]:
    """The axial, coronal and sagittal plane through the body's centre; the canonical grid's axes say which is which."""
    places = [_extent(body, axis) for axis in range(3)]
    centre = [round((low + high) / 2) for low, high in places]
    margins = [round(_MARGIN_MM / mm) for mm in grid.spacing_mm]
    box = [
        slice(max(low - margin, 0), high + 1 + margin)
        for (low, high), margin in zip(places, margins, strict=True)
    ]
    box[0] = slice(None)
    names = ("axial", "coronal", "sagittal")
    return tuple(_plane(name, axis, centre[axis], box, grid) for axis, name in enumerate(names))


def at_slice(plane: Plane, index: int) -> Plane:
    """The same plane through another place."""
    return Plane(
        plane.name, plane.axis, index, plane.count, plane.crop, plane.spacing_mm, plane.edges
    )


def letters(direction: NDArray[Any]) -> str:
    """Where a direction in LPS points to: L, R, A, P, H, F, two or three of them where it is oblique, the nearest first."""
    order = np.argsort(-np.abs(direction), kind="stable")
    shown = [k for k in order if abs(direction[k]) >= _OBLIQUE] or [order[0]]
    return "".join(_LETTERS[k][int(direction[k] > 0)] for k in shown)


def _plane(name: str, axis: int, index: int, box: list[slice], grid: Grid) -> Plane:
    rows, columns = (a for a in range(3) if a != axis)
    down = grid.directions[:, rows] * (1 if axis == 0 else -1)
    right = grid.directions[:, columns]
    return Plane(
        name=name,
        axis=axis,
        index=index,
        count=grid.shape[axis],
        crop=(box[rows], box[columns]),
        spacing_mm=(float(grid.spacing_mm[rows]), float(grid.spacing_mm[columns])),
        edges=(letters(-right), letters(right), letters(-down), letters(down)),
    )


def _extent(body: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """The first and the last index of the body along an axis; the whole axis where there is none."""
    others = tuple(a for a in range(3) if a != axis)
    places = np.flatnonzero(body.any(axis=others))
    return (int(places[0]), int(places[-1])) if places.size else (0, body.shape[axis] - 1)
