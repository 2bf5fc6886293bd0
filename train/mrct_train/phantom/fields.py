"""Smooth random fields: cubic B-splines over periodic lattices of normal numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A cubic B-spline over unit noise has this variance along each axis (mean of the sum of squared weights).
_VARIANCE = 0.479365


@dataclass(frozen=True, eq=False)
class Field:
    """A field of mean 0 and deviation 1 over space, smooth on the scale of `spacing` mm (z, y, x)."""

    lattice: NDArray[np.float32]
    spacing: tuple[float, float, float]

    def plane(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: float
    ) -> NDArray[np.float32]:
        """The values [H, W] on the plane z at columns x [W] and rows y [H], all in mm."""
        _, ny, nx = self.lattice.shape
        layer = self.layer(z)
        rows = _weights(y, self.spacing[1], ny)
        columns = _weights(x, self.spacing[2], nx)
        return (rows @ layer @ columns.T).astype(np.float32, copy=False)

    def layer(self, z: float) -> NDArray[np.float32]:
        """The lattice [Y, X] interpolated to the plane z."""
        weights = _weights(np.array([z]), self.spacing[0], len(self.lattice))[0]
        layer: NDArray[np.float32] = np.tensordot(weights, self.lattice, axes=1)
        return layer


def field(rng: np.random.Generator, spacing: tuple[float, float, float], size: int = 32) -> Field:
    """A random Field that repeats after `size` lattice steps."""
    lattice = rng.standard_normal((size, size, size), dtype=np.float32)
    # three axes, each of which takes its share of the variance
    lattice /= np.float32(_VARIANCE**1.5)
    return Field(lattice, spacing)


def _weights(positions: NDArray[np.float64], spacing: float, size: int) -> NDArray[np.float32]:
    """Cubic B-spline weights [N, size] of the lattice points at each position, wrapped around."""
    u = positions / spacing
    base = np.floor(u).astype(int)
    t = u - base
    parts = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    weights = np.zeros((len(u), size), np.float32)
    rows = np.arange(len(u))
    for k, part in enumerate(parts):
        np.add.at(weights, (rows, (base + k - 1) % size), part.astype(np.float32))
    return weights
