"""A volume is an array and the affine that says where its voxel centres lie in the patient.

Axes are (slice, row, column); positions are millimetres in DICOM's patient system LPS (+x left, +y posterior, +z head).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.scratch import IN_MEMORY, Scratch, let_go, let_go_at_times, slices

FloatArray = NDArray[np.float64]

# Two grids closer than this are one grid: far below what any scanner or planning system resolves.
SAME_MM = 1e-5
# Two images whose voxel centres are closer than this were made on one grid; headers carry rounded decimals.
SAME_GRID_MM = 0.01
# A 4-D study of 1024 frames of 1024 x 1024; what claims more would fill the memory.
MAX_VOXELS = 1 << 30


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxel centres are: affine [4, 4] float64 from (slice, row, column) to LPS mm, shape (S, H, W)."""

    affine: FloatArray
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputRejectedError(f"a grid needs a finite 4 x 4 affine, not {affine.tolist()}")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise InputRejectedError(
                f"a grid's affine ends with the row 0 0 0 1, not {affine[3].tolist()}"
            )
        if len(shape) != 3 or min(shape) < 1:
            raise InputRejectedError(f"a grid has three axes of at least one voxel, not {shape}")
        if abs(np.linalg.det(_directions(affine))) < 1e-3:
            raise InputRejectedError(f"a grid's axes span no volume: {affine[:3, :3].tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)

    @property
    def spacing_mm(self) -> FloatArray:
        """Distance between voxel centres along (slice, row, column), mm [3]."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def directions(self) -> FloatArray:
        """Unit vectors [3, 3] in LPS, one column an axis (slice, row, column)."""
        return _directions(self.affine)

    @property
    def normal(self) -> FloatArray:
        """Unit vector [3] in LPS, perpendicular to the slices, on the side to which they count up."""
        stack, row, column = self.directions.T
        normal = np.cross(column, row)
        normal /= np.linalg.norm(normal)
        return np.asarray(np.copysign(1.0, normal @ stack) * normal, dtype=np.float64)

    def world(self, index: ArrayLike) -> FloatArray:
        """LPS mm [..., 3] of (slice, row, column) indices [..., 3]; whole numbers are voxel centres."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, world_mm: ArrayLike) -> FloatArray:
        """Continuous (slice, row, column) indices [..., 3] of LPS positions [..., 3] in mm."""
        offset = np.asarray(world_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(offset @ np.linalg.inv(self.affine[:3, :3]).T, dtype=np.float64)

    def matches(self, other: Grid, *, tolerance_mm: float = SAME_MM) -> bool:
        """True where both have the same shape and no voxel centre is further apart than the tolerance."""
        return self.shape == other.shape and self.apart_mm(other) <= tolerance_mm

    def apart_mm(self, other: Grid) -> float:
        """The largest distance between voxel centres of the same index."""
        # The distance between two affine maps is largest at a corner.
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1)
        apart = np.linalg.norm(self.world(corners) - other.world(corners), axis=-1)
        return float(apart.max())

    def canonical(self) -> Grid:
        """The same voxel centres, axes swapped and flipped to run nearest to (+z, +y, +x)."""
        axes, signs = _nearest_axes(self.directions)
        move = np.zeros((4, 4))
        move[3, 3] = 1.0
        for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
            move[old, new] = sign
            move[old, 3] = 0 if sign > 0 else self.shape[old] - 1
        slices, rows, columns = (self.shape[old] for old in axes)
        return Grid(self.affine @ move, (slices, rows, columns))

    def canonically(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of an array [S, H, W] on this grid, its axes those of the canonical one."""
        axes, signs = _nearest_axes(self.directions)
        return array.transpose(axes)[tuple(slice(None, None, int(sign)) for sign in signs)]

    def at(self, s: int) -> Grid:
        """The grid of slice s alone."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world((s, 0, 0))
        return Grid(affine, (1, *self.shape[1:]))

    def __str__(self) -> str:
        slices, rows, columns = self.shape
        spacing = " x ".join(f"{mm:.3g}" for mm in self.spacing_mm)
        return f"{slices} slice{'s' if slices > 1 else ''} of {rows} x {columns}, {spacing} mm"


@dataclass(frozen=True, eq=False)
class Volume:
    """An array [S, H, W] and the grid of its voxel centres."""

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise InputRejectedError(
                f"an array of shape {self.array.shape} does not fit a grid of {self.grid.shape}"
            )

    def resample(
        self, to: Grid, *, fill: float, order: int = 1, scratch: Scratch = IN_MEMORY
    ) -> Volume:
        """self(to.world(index)) by splines of the given order; `fill` beyond half a voxel outside.

        An axis that becomes coarser is smoothed first by the Gaussian that turns the source's resolution into the
        target's (Cardoso et al. 2015, sec. 2: variances of full widths at half maximum add). The array itself comes back
        where both grids are the same. Order 0 (labels) is never smoothed and keeps its type; else float32 or float64.
        One slice after the other is made, in an array of the scratch.
        """
        from scipy import ndimage

        if self.grid.matches(to):
            return Volume(self.array, to)
        move = np.linalg.inv(self.grid.affine) @ to.affine
        source = self.array
        if order > 0:
            source = source.astype(np.result_type(source.dtype, np.float32), copy=False)
            source = _smoothed(source, move, scratch)
        moved = scratch.empty(to.shape, source.dtype)
        for s, image in enumerate(slices(moved)):
            # where each sum of SciPy's begins; the rest of it is that of a slice 0
            offset = move[:3, 3] + move[:3, 0] * s
            ndimage.affine_transform(
                source, move[:3, :3], offset, output=image[None], order=order, mode="nearest"
            )
            image[~_inside(move, self.grid.shape, s, to.shape[1:])] = fill
            let_go_at_times(s, source)
        let_go(source)
        return Volume(moved, to)

    def canonical(self, scratch: Scratch = IN_MEMORY) -> Volume:
        """The same voxels, axes swapped and flipped (never interpolated) to run nearest to (+z, +y, +x)."""
        array = self.grid.canonically(self.array)
        if not array.flags.c_contiguous:
            copied = scratch.empty(array.shape, array.dtype)
            for image, copy in zip(slices(array), slices(copied), strict=True):
                copy[...] = image
            array = copied
        return Volume(array, self.grid.canonical())


def model_grid(stack: Volume | Grid, size: int, spacing_mm: float) -> Grid:
    """The stack's own slices cut into size x size pixels of spacing_mm, centred on the centre of its slices."""
    grid = stack.grid if isinstance(stack, Volume) else stack
    if size < 1 or not spacing_mm > 0:
        raise InputRejectedError(
            f"a model grid needs a size and a spacing above 0, not {size} and {spacing_mm}"
        )
    affine = grid.affine.copy()
    affine[:3, 1:3] = grid.directions[:, 1:3] * spacing_mm
    centre = grid.world((0, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2))
    affine[:3, 3] = centre - affine[:3, 1:3].sum(axis=1) * (size - 1) / 2
    return Grid(affine, (grid.shape[0], size, size))


def _directions(affine: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return np.asarray(affine[:3, :3] / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)


def _nearest_axes(directions: FloatArray) -> tuple[tuple[int, ...], FloatArray]:
    """The old axis that becomes (slice, row, column) nearest to (z, y, x), and its sign."""
    wanted = (2, 1, 0)

    def agreement(axes: tuple[int, ...]) -> float:
        return float(np.abs(directions[wanted, axes]).sum())

    axes = max(permutations(range(3)), key=agreement)
    return axes, np.where(directions[wanted, axes] < 0, -1.0, 1.0)


def _smoothed(array: NDArray[Any], move: FloatArray, scratch: Scratch) -> NDArray[Any]:
    """The array blurred along each axis that the target samples more coarsely than the source."""
    from scipy import ndimage

    # Row a of the move holds how far, in voxels of source axis a, one step along each target axis goes.
    ratio = np.linalg.norm(move[:3, :3], axis=1)
    full_width = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0))
    deviation = np.where(ratio > 1.001, full_width / np.sqrt(8.0 * np.log(2.0)), 0.0)
    if not deviation.any():
        return array
    blurred = scratch.empty(array.shape, array.dtype)
    if deviation[0]:
        ndimage.gaussian_filter(array, deviation, output=blurred, mode="nearest")
        return blurred
    for image, blurry in zip(slices(array), slices(blurred), strict=True):
        ndimage.gaussian_filter(image, deviation[1:], output=blurry, mode="nearest")
    return blurred


def _inside(
    move: FloatArray, source: tuple[int, int, int], s: int, target: tuple[int, int]
) -> NDArray[np.bool_]:
    """True [H, W] for voxels of the target's slice s whose centre lies in one of the source's voxels, edges included."""
    inside = np.ones(target, dtype=bool)
    y, x = np.ogrid[: target[0], : target[1]]
    for row, n in zip(move[:3], source, strict=True):
        place = row[0] * s + row[1] * y + row[2] * x + row[3]
        inside &= (place >= -0.5 - 1e-6) & (place <= n - 0.5 + 1e-6)
    return inside
