"""The outside of the body: trunk, thighs and genitals, in the coordinates of the skeleton (mm)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrct_train.phantom.combine import Mirrored, Union
from mrct_train.phantom.shapes import Cone, Ellipsoid, chain, outline

if TYPE_CHECKING:
    from mrct_train.phantom.shapes import Array, Box, Shape

# Half an outline from the front of the midline to its back; the reference subject has 25 mm of fat over the hips.
_HALF = {
    140: (
        (0, -114),
        (50, -110),
        (98, -94),
        (138, -60),
        (158, -8),
        (164, 50),
        (156, 98),
        (130, 118),
        (85, 122),
        (40, 122),
        (0, 116),
    ),
    88: (
        (0, -113),
        (50, -109),
        (100, -93),
        (145, -61),
        (171, -10),
        (177, 50),
        (169, 100),
        (140, 120),
        (90, 124),
        (40, 124),
        (0, 119),
    ),
    51: (
        (0, -111),
        (50, -107),
        (104, -90),
        (150, -63),
        (178, -20),
        (186, 50),
        (176, 104),
        (146, 122),
        (92, 125),
        (40, 124),
        (0, 119),
    ),
    8: (
        (0, -108),
        (50, -104),
        (100, -91),
        (150, -75),
        (184, -35),
        (192, 22),
        (186, 82),
        (160, 117),
        (100, 125),
        (40, 123),
        (0, 115),
    ),
    -40: (
        (0, -102),
        (45, -98),
        (95, -99),
        (146, -84),
        (181, -38),
        (189, 20),
        (181, 78),
        (155, 114),
        (95, 124),
        (36, 119),
        (0, 102),
    ),
    -72: (
        (0, -90),
        (40, -94),
        (92, -102),
        (144, -86),
        (178, -36),
        (184, 20),
        (174, 76),
        (148, 110),
        (94, 121),
        (34, 110),
        (0, 78),
    ),
    -100: (
        (0, -38),
        (36, -78),
        (90, -102),
        (142, -86),
        (175, -34),
        (180, 20),
        (168, 74),
        (142, 105),
        (94, 114),
        (36, 96),
        (0, 28),
    ),
}
_THIGH = {
    -60: (
        (20, -10),
        (40, -60),
        (88, -96),
        (136, -84),
        (168, -34),
        (172, 25),
        (150, 76),
        (104, 104),
        (58, 90),
        (28, 50),
    ),
    -100: (
        (9, -10),
        (28, -70),
        (86, -104),
        (142, -86),
        (175, -34),
        (180, 22),
        (156, 86),
        (104, 116),
        (48, 96),
        (16, 46),
    ),
    -140: (
        (12, -8),
        (28, -68),
        (84, -104),
        (140, -88),
        (172, -34),
        (174, 22),
        (150, 78),
        (104, 104),
        (52, 86),
        (20, 44),
    ),
}
TABLE = 126.0


@dataclass(frozen=True, eq=False)
class Body:
    """Trunk and thighs grown by `fat` mm and flattened by the table below."""

    parts: Shape
    fat: float

    def bounds(self, z: float) -> Box | None:
        """The grown box."""
        box = self.parts.bounds(z)
        grow = max(0.0, self.fat)
        return None if box is None else (box[0] - grow, box[1] + grow, box[2] - grow, box[3] + grow)

    def distance(self, x: Array, y: Array, z: float) -> Array:
        """The larger of the grown outline and the plane of the table."""
        grown = self.parts.distance(x, y, z) - np.float32(self.fat)
        flattened: Array = np.maximum(grown, y - np.float32(TABLE))
        return flattened


def body(fat: float) -> Shape:
    """The body with `fat` mm more (or less) under the skin than the reference."""
    knots = {float(z): (*half, *((-x, y) for x, y in half[-2:0:-1])) for z, half in _HALF.items()}
    trunk = outline(knots, inset={-100: 3, -88: 0})
    thigh = outline({float(z): points for z, points in _THIGH.items()}, inset={-60: 4, -75: 0})
    return Body(Union((trunk, thigh, Mirrored(thigh)), blend=6.0), fat)


def genitals() -> Shape:
    """Root and shaft of the penis with the scrotum, in front of and between the thighs."""
    scrotum = Ellipsoid((0, -78, -108), (30, 30, 36))
    shaft = Cone((0, -84, -64, 15), (4, -104, -100, 14))
    return Union((scrotum, shaft), blend=8.0)


CORPORA = chain(
    {
        -50: ((-9, -38, -2), (9, -38, -2)),
        -60: ((-9, -52, 5), (9, -52, 5)),
        -72: ((-7, -84, 7), (7, -84, 7)),
        -84: ((-6, -98, 7), (7, -98, 7)),
        -110: ((-4, -104, 6), (10, -104, 6)),
        -124: ((0, -104, -2), (6, -104, -2)),
    }
)
BULB = chain(
    {
        -50: ((0, -6, -2), (0, 0, -2)),
        -60: ((0, -20, 6), (0, 6, 6)),
        -72: ((0, -48, 6), (0, 4, 6)),
        -80: ((0, -70, 5), (0, -40, 5)),
        -88: ((0, -84, -1), (0, -70, -2)),
    }
)
CRUS = Cone((13, -34, -58, 5.5), (36, 2, -76, 5.0))
TESTIS = Ellipsoid((14, -78, -114), (12, 14, 20))
