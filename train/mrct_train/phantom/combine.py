"""Shapes made of shapes: unions, cuts, reflections and shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mrct_train.phantom.shapes import Array, Box, Shape


@dataclass(frozen=True, eq=False)
class Union:
    """The smooth union of shapes: a polynomial smooth minimum that fills creases `blend` mm wide."""

    parts: tuple[Shape, ...]
    blend: float = 0.0

    def bounds(self, z: float) -> Box | None:
        """The box of all boxes."""
        boxes = [box for part in self.parts if (box := part.bounds(z)) is not None]
        if not boxes:
            return None
        x0, x1, y0, y1 = zip(*boxes, strict=True)
        return min(x0), max(x1), min(y0), max(y1)

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """min(a, b) - h^2 / (4 blend) with h = max(blend - |a - b|, 0), over the parts in order."""
        present = [part.distance(x, y, z) for part in self.parts if part.bounds(z) is not None]
        if not present:
            return np.full(x.shape, np.inf, np.float32)
        result = present[0]
        for other in present[1:]:
            both = np.minimum(result, other)
            if self.blend > 0:
                crease = np.maximum(np.float32(self.blend) - np.abs(result - other), 0)
                both -= crease * crease / np.float32(4 * self.blend)
            result = both
        return result


@dataclass(frozen=True, eq=False)
class Cut:
    """A shape cut by the half space normal . p <= offset (mm)."""

    shape: Shape
    normal: tuple[float, float, float]
    offset: float

    def bounds(self, z: float) -> Box | None:
        """The box of the uncut shape."""
        return self.shape.bounds(z)

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """The larger of the shape's distance and the plane's."""
        nx, ny, nz = self.normal
        plane = np.float32(nx) * x + np.float32(ny) * y + np.float32(nz * z - self.offset)
        return np.maximum(self.shape.distance(x, y, z), plane)


@dataclass(frozen=True, eq=False)
class Mirrored:
    """A shape of the left side (x > 0) reflected to the right."""

    shape: Shape

    def bounds(self, z: float) -> Box | None:
        """The reflected box."""
        box = self.shape.bounds(z)
        return None if box is None else (-box[1], -box[0], box[2], box[3])

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """The distance of the reflected points."""
        return self.shape.distance(-x, y, z)


@dataclass(frozen=True, eq=False)
class Moved:
    """A shape shifted by (dx, dy, dz) mm."""

    shape: Shape
    shift: tuple[float, float, float]

    def bounds(self, z: float) -> Box | None:
        """The shifted box."""
        dx, dy, dz = self.shift
        box = self.shape.bounds(z - dz)
        return None if box is None else (box[0] + dx, box[1] + dx, box[2] + dy, box[3] + dy)

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """The distance of the points shifted back."""
        dx, dy, dz = self.shift
        return self.shape.distance(x - np.float32(dx), y - np.float32(dy), z - dz)
