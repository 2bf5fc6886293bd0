"""From the positions in the headers to a regular grid, or to the reason why there is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import number, numbers
from mrct_runtime.errors import SeriesError
from mrct_runtime.volume import Grid

# Scanners round positions: GE's differ by 0.8 % in real data. Beyond this it is not rounding.
SPACING_TOLERANCE = 0.02
MAX_TOLERANCE_MM = 0.2
NAMED_POSITIONS = 5

Positions = NDArray[np.float64]


def stacked(group: SeriesGroup) -> tuple[tuple[int, ...], Grid]:
    """The images' order along the slice normal, and the grid of the stack; anything irregular is refused.

    The order never follows instance numbers, slice locations or file names, which real studies have wrong.
    """
    positions = np.asarray([numbers(h, "ImagePositionPatient", 3) for h in group.headers])
    along = positions @ group.normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    if len(along) == 1:
        step = _thickness(group) * group.normal
    else:
        _check_regular(group, positions, along)
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
    return tuple(int(i) for i in order), _grid(group, positions[0], step)


def _grid(group: SeriesGroup, origin: Positions, step: Positions) -> Grid:
    first = group.headers[0]
    cosines = np.asarray(numbers(first, "ImageOrientationPatient", 6))
    spacing = numbers(first, "PixelSpacing", 2)
    if spacing is None:
        raise SeriesError(f"{group}: no pixel spacing; export the series again")
    # Headers carry rounded cosines; the grid's in-plane axes are made orthogonal unit vectors.
    right = cosines[:3] / np.linalg.norm(cosines[:3])
    down = cosines[3:] - (cosines[3:] @ right) * right
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = down / np.linalg.norm(down) * spacing[0]
    affine[:3, 2] = right * spacing[1]
    affine[:3, 3] = origin
    return Grid(affine, (len(group.headers), int(first.Rows), int(first.Columns)))


def _thickness(group: SeriesGroup) -> float:
    header = group.headers[0]
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = number(header, keyword)
        if value is not None and value > 0:
            return value
    raise SeriesError(f"{group}: one slice and no slice thickness; a volume needs either")


def _check_regular(group: SeriesGroup, positions: Positions, along: Positions) -> None:
    """Refuses repeated positions, missing slices, uneven spacing and slices that shift sideways."""
    gaps = np.diff(along)
    spacing = float(np.median(gaps))
    same = gaps < max(0.1 * spacing, 1e-3)
    if same.any():
        shown = _shown(positions[1:][same])
        raise SeriesError(
            f"{group}: {np.count_nonzero(same)} of {len(along)} images repeat a position, at {shown}; "
            "export one acquisition alone"
        )
    tolerance = min(SPACING_TOLERANCE * spacing, MAX_TOLERANCE_MM)
    steps = np.rint(gaps / spacing)
    # The k-fold gap may be off by k times as much.
    if (np.abs(gaps - steps * spacing) > tolerance * np.maximum(steps, 1)).any():
        raise SeriesError(
            f"{group}: slice spacing varies from {gaps.min():.2f} to {gaps.max():.2f} mm; "
            "resample to a regular grid first"
        )
    if (steps > 1).any():
        missing = _missing(positions, steps)
        raise SeriesError(
            f"{group}: {'1 slice is' if len(missing) == 1 else f'{len(missing)} slices are'} missing, "
            f"at {_shown(missing)}; export the series again, complete"
        )
    sideways = positions - positions[0] - np.outer(along - along[0], group.normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > max(tolerance, 1e-3 * (along[-1] - along[0])):
        raise SeriesError(
            f"{group}: slices shift sideways by up to {shift:.2f} mm (gantry tilt); resample to a straight stack first"
        )


def _missing(positions: Positions, steps: Positions) -> Positions:
    """LPS mm [n, 3] where slices should lie, evenly between the neighbours of each gap."""
    return np.asarray(
        [
            below + (above - below) * k / n
            for below, above, n in zip(positions, positions[1:], steps, strict=False)
            for k in range(1, int(n))
        ]
    )


def _shown(positions: Positions) -> str:
    some = ", ".join(f"({x:.1f}, {y:.1f}, {z:.1f}) mm" for x, y, z in positions[:NAMED_POSITIONS])
    more = len(positions) - NAMED_POSITIONS
    return f"{some} and {more} more" if more > 0 else some
