"""The source on other pixels: what is written then lies on the MR's slices, but not on its pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

from mrct_runtime.dicom.derived import decimal, inherit
from mrct_runtime.dicom.header import numbers
from mrct_runtime.dicom.reading import Series
from mrct_runtime.errors import UsageError
from mrct_runtime.scratch import IN_MEMORY, Scratch
from mrct_runtime.volume import Grid

# A viewer's texture, and far more than any planning system takes.
MAX_SIDE = 4096
MIN_SIDE = 2
_NEW = {"ImagePositionPatient", "PixelSpacing", "Rows", "Columns"}


def respaced_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The same slices in square pixels of spacing_mm, as many as fit into the picture, about the same centre."""
    extent = np.asarray(grid.shape[1:]) * grid.spacing_mm[1:]
    rows, columns = (int(n) for n in np.floor(extent / spacing_mm + 1e-6))
    if not (min(rows, columns) >= MIN_SIDE and max(rows, columns) <= MAX_SIDE):
        raise UsageError(
            f"a spacing of {spacing_mm:g} mm makes {rows} x {columns} pixels of slices of {extent[0]:.0f} x {extent[1]:.0f} mm; "
            f"name one that makes {MIN_SIDE} to {MAX_SIDE} a side"
        )
    affine = grid.affine.copy()
    affine[:3, 1:3] = grid.directions[:, 1:3] * spacing_mm
    affine[:3, 3] += _first_pixel(grid, affine, rows, columns)
    return Grid(affine, (grid.shape[0], rows, columns))


def respaced(source: Series, spacing_mm: float, scratch: Scratch = IN_MEMORY) -> Series:
    """The source on `respaced_grid`: its volume interpolated, its headers with the new geometry and their own UIDs."""
    old = source.volume.grid
    grid = respaced_grid(old, spacing_mm)
    moved = grid.affine[:3, 3] - old.affine[:3, 3]
    return replace(
        source,
        headers=tuple(_header(header, grid, spacing_mm, moved) for header in source.headers),
        volume=source.volume.resample(grid, fill=0.0, scratch=scratch),
    )


def _first_pixel(old: Grid, affine: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The way in mm from the first pixel's centre of one grid to that of the other."""
    before = old.affine[:3, 1:3] @ ((np.asarray(old.shape[1:]) - 1) / 2)
    after = affine[:3, 1:3] @ ((np.asarray((rows, columns)) - 1) / 2)
    return np.asarray(before - after)


def _header(header: Dataset, grid: Grid, spacing_mm: float, moved: np.ndarray) -> Dataset:
    """Each slice keeps its own place along the stack, which need not be perfectly even."""
    new = Dataset()
    known = (keyword_for_tag(tag) for tag in header.keys())  # noqa: SIM118  iterating over a dataset decodes it
    inherit(new, header, *(keyword for keyword in known if keyword and keyword not in _NEW))
    position = np.asarray(numbers(header, "ImagePositionPatient", 3)) + moved
    new.ImagePositionPatient = [decimal(mm) for mm in position]
    new.PixelSpacing = [decimal(spacing_mm)] * 2
    new.Rows, new.Columns = grid.shape[1:]
    return new
