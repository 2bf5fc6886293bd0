"""Implicit shapes: signed distances in mm (negative inside) of points on one axial slice.

Every shape answers two questions about the plane z: `bounds(z)`, the in-plane box outside which it is certainly absent, and
`distance(x, y, z)`, its signed distance at points of that plane. Distances are exact across the outline of polygons and
capsules and first order elsewhere, which is what soft partial-volume edges and shells of constant thickness need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Box = tuple[float, float, float, float]

# Points of a block times edges of an outline: small enough for the second-level cache.
_BLOCK = 1 << 16


class Shape(Protocol):
    """Anything with a signed distance on axial planes."""

    def bounds(self, z: float) -> Box | None:
        """(x low, x high, y low, y high) in mm of what may be inside at z; None when nothing is."""

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """Signed distance in mm [N] of the points (x [N], y [N], z)."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed curve through control points [K, P, 2] at heights [K], interpolated in between."""

    heights: NDArray[np.float64]
    points: NDArray[np.float64]
    inset: NDArray[np.float64]

    def _at(self, z: float) -> tuple[NDArray[np.float64], float] | None:
        if not self.heights[0] <= z <= self.heights[-1]:
            return None
        return _smooth_closed(_interpolate(z, self.heights, self.points)), float(
            np.interp(z, self.heights, self.inset)
        )

    def bounds(self, z: float) -> Box | None:
        """The box of the curve; None beyond the first and the last height."""
        at = self._at(z)
        if at is None:
            return None
        (x0, y0), (x1, y1) = at[0].min(axis=0), at[0].max(axis=0)
        grow = max(0.0, -at[1])
        return float(x0 - grow), float(x1 + grow), float(y0 - grow), float(y1 + grow)

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """Signed distance to the curve, plus the inset that lets the ends taper."""
        at = self._at(z)
        if at is None:
            return np.full(x.shape, np.inf, np.float32)
        return polygon_distance(x, y, at[0]) + np.float32(at[1])


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain of capsules through (x, y, radius) [K, P, 3] at heights [K]; a negative radius is absence."""

    heights: NDArray[np.float64]
    points: NDArray[np.float64]

    def bounds(self, z: float) -> Box | None:
        """The box of all discs; None beyond the first and the last height or where no radius is positive."""
        if not self.heights[0] <= z <= self.heights[-1]:
            return None
        x, y, r = _interpolate(z, self.heights, self.points).T
        if r.max() <= 0:
            return None
        return (
            float((x - r).min()),
            float((x + r).max()),
            float((y - r).min()),
            float((y + r).max()),
        )

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """The least distance to any capsule."""
        if not self.heights[0] <= z <= self.heights[-1]:
            return np.full(x.shape, np.inf, np.float32)
        points = _interpolate(z, self.heights, self.points).astype(np.float32)
        first, second = (points, points) if len(points) == 1 else (points[:-1], points[1:])
        result = np.full(x.shape, np.inf, np.float32)
        for (ax, ay, ar), (bx, by, br) in zip(first, second, strict=True):
            ex, ey = bx - ax, by - ay
            px, py = x - ax, y - ay
            t = np.clip((px * ex + py * ey) / max(ex * ex + ey * ey, np.float32(1e-6)), 0, 1)
            np.minimum(
                result, np.hypot(px - t * ex, py - t * ey) - (ar + t * (br - ar)), out=result
            )
        return result


@dataclass(frozen=True)
class Cone:
    """A straight round cone from ball (x, y, z, r) `start` to ball `end`; equal ends are one ball."""

    start: tuple[float, float, float, float]
    end: tuple[float, float, float, float]

    def bounds(self, z: float) -> Box | None:
        """The box of both balls; None above and below them."""
        (ax, ay, az, ar), (bx, by, bz, br) = self.start, self.end
        if not min(az - ar, bz - br) <= z <= max(az + ar, bz + br):
            return None
        return (
            min(ax - ar, bx - br),
            max(ax + ar, bx + br),
            min(ay - ar, by - br),
            max(ay + ar, by + br),
        )

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """Distance to the axis less the radius at the nearest point of the axis."""
        (ax, ay, az, ar), (bx, by, bz, br) = self.start, self.end
        ex, ey, ez = bx - ax, by - ay, bz - az
        px, py, pz = x - np.float32(ax), y - np.float32(ay), z - az
        t = np.clip((px * ex + py * ey + pz * ez) / max(ex * ex + ey * ey + ez * ez, 1e-6), 0, 1)
        square = (px - t * ex) ** 2 + (py - t * ey) ** 2 + (pz - t * ez) ** 2
        distance: Array = (np.sqrt(square) - (ar + t * (br - ar))).astype(np.float32)
        return distance


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with axes along x, y, z."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]

    def bounds(self, z: float) -> Box | None:
        """The box of the whole ellipsoid; None above and below it."""
        (cx, cy, cz), (rx, ry, rz) = self.centre, self.radii
        return (cx - rx, cx + rx, cy - ry, cy + ry) if abs(z - cz) <= rz else None

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """k0 (k0 - 1) / k1 with k0 = |p / r|, k1 = |p / r^2|: exact to first order at the surface."""
        (cx, cy, cz), (rx, ry, rz) = self.centre, self.radii
        px, py, pz = (x - np.float32(cx)) / rx, (y - np.float32(cy)) / ry, (z - cz) / rz
        k0 = np.sqrt(px * px + py * py + pz * pz)
        k1 = np.sqrt((px / rx) ** 2 + (py / ry) ** 2 + (pz / rz) ** 2)
        distance: Array = (k0 * (k0 - 1) / np.maximum(k1, 1e-6)).astype(np.float32)
        return np.where(k0 < 1e-3, np.float32(-min(self.radii)), distance)


def polygon_distance(x: Array, y: Array, vertices: NDArray[np.float64]) -> Array:
    """Signed distance in mm [N] to the closed polygon [P, 2]: nearest edge, sign by the crossing rule."""
    ax, ay = vertices.T.astype(np.float32)[:, :, None]
    bx, by = np.roll(ax, -1, axis=0), np.roll(ay, -1, axis=0)
    ex, ey = bx - ax, by - ay
    scale = 1 / np.maximum(ex * ex + ey * ey, np.float32(1e-6))
    slope = ex / np.where(ey == 0, np.float32(1e-6), ey)
    result = np.empty(x.shape, np.float32)
    step = max(1, _BLOCK // len(vertices))
    for start in range(0, len(x), step):
        px, py = x[None, start : start + step] - ax, y[None, start : start + step] - ay
        crosses = ((py >= 0) != (py >= ey)) & (px < slope * py)
        t = np.clip((px * ex + py * ey) * scale, 0, 1)
        px -= t * ex
        py -= t * ey
        nearest = np.sqrt((px * px + py * py).min(axis=0))
        inside = np.logical_xor.reduce(crosses, axis=0)
        result[start : start + step] = np.where(inside, -nearest, nearest)
    return result


def outline(
    knots: Mapping[float, Sequence[tuple[float, float]]], inset: dict[float, float] | None = None
) -> Outline:
    """An Outline from {z: control points}; `inset` {z: mm} shrinks it at those heights."""
    heights = np.array(sorted(knots), np.float64)
    points = np.array([knots[z] for z in sorted(knots)], np.float64)
    profile = {float(heights[0]): 0.0} if inset is None else inset
    zs = sorted(profile)
    return Outline(heights, points, np.interp(heights, zs, [profile[z] for z in zs]))


def chain(knots: Mapping[float, Sequence[tuple[float, float, float]]]) -> Chain:
    """A Chain from {z: ((x, y, radius), ...)}."""
    return Chain(
        np.array(sorted(knots), np.float64), np.array([knots[z] for z in sorted(knots)], np.float64)
    )


def ball(x: float, y: float, z: float, radius: float) -> Cone:
    """A ball."""
    return Cone((x, y, z, radius), (x, y, z, radius))


def _interpolate(
    z: float, heights: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The control points [P, C] at z, linear between the neighbouring heights."""
    k = int(np.clip(np.searchsorted(heights, z, side="right") - 1, 0, len(heights) - 2))
    t = (z - heights[k]) / (heights[k + 1] - heights[k])
    blended: NDArray[np.float64] = points[k] * (1 - t) + points[k + 1] * t
    return blended


def _smooth_closed(points: NDArray[np.float64], per_edge: int = 3) -> NDArray[np.float64]:
    """A uniform Catmull-Rom curve [per_edge P, 2] through closed control points [P, 2]."""
    before, after, beyond = (np.roll(points, k, axis=0) for k in (1, -1, -2))
    pieces = []
    for t in np.arange(per_edge) / per_edge:
        a = -0.5 * t + t**2 - 0.5 * t**3
        b = 1 - 2.5 * t**2 + 1.5 * t**3
        c = 0.5 * t + 2 * t**2 - 1.5 * t**3
        d = -0.5 * t**2 + 0.5 * t**3
        pieces.append(a * before + b * points + c * after + d * beyond)
    return np.stack(pieces, axis=1).reshape(-1, 2)
