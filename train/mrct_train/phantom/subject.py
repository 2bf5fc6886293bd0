"""One subject of the phantom: registered MR, CT and labels on a grid of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrct_train.phantom.anatomy import Anatomy, random_anatomy
from mrct_train.phantom.fields import Field, field
from mrct_train.phantom.render import Paint, Textures, paint_slice
from mrct_train.phantom.signal import (
    Appearance,
    Sequence,
    bias_plane,
    coil,
    ct_numbers,
    mr_counts,
    paints,
    random_sequence,
)
from mrct_train.phantom.spec import GridSpec
from mrct_train.phantom.tissue import Tissue

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Subject:
    """MR counts [S, H, W] uint16, CT [S, H, W] int16 in HU, tissue labels [S, H, W] uint8, all on one grid.

    `affine` [4, 4] takes (slice, row, column) to LPS mm.
    """

    number: int
    mr: NDArray[np.uint16]
    ct: NDArray[np.int16]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    grid: GridSpec
    sequence: Sequence
    age: int
    weight_kg: float


def generate_subject(
    seed: int,
    subject: int,
    grid: GridSpec | None = None,
    appearance: Appearance | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    ct_draw: int = 0,
) -> Subject:
    """Subject number `subject` (from 1) of the data set `seed`: the same man on every grid.

    `progress(done, total)` is called after each slice. Another `ct_draw` gives another CT of the same anatomy under
    the same MR, bit for bit: the HU of the tissues, which the MR does not show, and the noise are drawn anew.
    """
    grid = GridSpec() if grid is None else grid
    appearance = Appearance() if appearance is None else appearance
    body, look, scan, noise = (
        np.random.Generator(np.random.PCG64(s))
        for s in np.random.SeedSequence((seed, subject)).spawn(4)
    )
    man, sequence = _Man(random_anatomy(body), *_textures(look)), random_sequence(scan)
    other = np.random.default_rng((seed, subject, ct_draw)) if ct_draw else None
    palette = paints(sequence, appearance, scan, other)
    offset = np.round(scan.uniform((-8, -12, -40), (8, 12, 40)), 1)
    age, weight = int(scan.integers(52, 80)), float(np.round(scan.normal(82, 9), 1))
    shape = (grid.slices, grid.size, grid.size)
    mr, ct = np.empty(shape, np.uint16), np.empty(shape, np.int16)
    labels = np.empty(shape, np.uint8)
    x, y, z = _axes(grid)
    for k, height in enumerate(z):
        signal, hu, labels[k] = man.slice(palette, (x, y), height + _sublayers(grid))
        signal *= coil(bias_plane(man.sensitivity, x, y, height), appearance.bias)
        mr[k] = mr_counts(signal, sequence, appearance.mr_noise, noise)
        ct[k] = ct_numbers(hu, grid.spacing, appearance, noise)
        if other is not None:
            ct[k] = ct_numbers(hu, grid.spacing, appearance, other)
        if progress is not None:
            progress(k + 1, grid.slices)
    origin = np.array([x[0], y[0], z[0]]) + offset
    return Subject(subject, mr, ct, labels, _affine(grid, origin), grid, sequence, age, weight)


@dataclass(frozen=True, eq=False)
class _Man:
    """What stays the same on every grid: the anatomy, its texture and the coil's sensitivity."""

    anatomy: Anatomy
    textures: Textures
    sensitivity: Field

    def slice(
        self,
        palette: dict[Tissue, Paint],
        axes: tuple[NDArray[np.float64], NDArray[np.float64]],
        heights: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """Signal and HU [H, W] averaged over the heights (mm) within a slice, labels [H, W] of its middle."""
        painted = [paint_slice(self.anatomy, palette, self.textures, axes, z) for z in heights]
        signal, hu = painted[0].signal, painted[0].hu
        for canvas in painted[1:]:
            signal += canvas.signal
            hu += canvas.hu
        count = np.float32(len(painted))
        return signal / count, hu / count, painted[len(painted) // 2].labels


def _textures(rng: np.random.Generator) -> tuple[Textures, Field]:
    """Grain of 2 mm, clouds of 7 mm, strands along the fibres; and the smooth sensitivity of the coil."""
    textures = Textures(
        field(rng, (3.0, 2.2, 2.2), 64),
        field(rng, (9.0, 7.0, 7.0), 48),
        field(rng, (30.0, 6.0, 42.0), 48),
    )
    return textures, field(rng, (110.0, 110.0, 110.0), 8)


def _axes(
    grid: GridSpec,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixel centres in mm: x [W], y [H], z [S] ascending, relative to the centre of the pelvis."""
    plane = (np.arange(grid.size, dtype=np.float64) - (grid.size - 1) / 2) * grid.spacing
    z = (np.arange(grid.slices, dtype=np.float64) - (grid.slices - 1) / 2) * grid.slice_spacing
    # The body's middle lies behind the axis of the hips.
    return plane, plane + 8.0, z


def _sublayers(grid: GridSpec) -> NDArray[np.float64]:
    """Heights relative to the slice's middle that a thick slice averages over, at most 4 mm apart."""
    count = max(1, math.ceil(grid.slice_thickness / 4.0))
    return ((np.arange(count) + 0.5) / count - 0.5) * grid.slice_thickness


def _affine(grid: GridSpec, origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """(slice, row, column) to LPS mm: slices upwards, rows to the back, columns to the left."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, grid.spacing], [0, grid.spacing, 0], [grid.slice_spacing, 0, 0]]
    affine[:3, 3] = origin
    return affine
