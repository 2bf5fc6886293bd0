"""Pelvic organs, drawn anew for every subject: bladder, prostate, vesicles, rectum, bowel, vessels and nerves (mm)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrct_train.phantom.combine import Moved, Union
from mrct_train.phantom.shapes import Cone, Ellipsoid, chain

if TYPE_CHECKING:
    from mrct_train.phantom.shapes import Chain, Shape


@dataclass(frozen=True)
class Filling:
    """What differs from day to day: bladder, rectum and prostate relative to 1, gas from 0 to 1."""

    bladder: float
    rectum: float
    gas: float
    prostate: float
    gland: float


def bladder(filling: Filling) -> Shape:
    """The bladder on top of the prostate; it fills upwards, then sideways."""
    f = filling.bladder
    height, width = 27 * f, 33 * f**0.6
    top = Ellipsoid((0, -27 - 2 * f, -10 + height), (width, 33 * f**0.5, height))
    neck = Cone((0, -20, -9, 8), (0, -24, 2, 16))
    return Union((top, neck), blend=12.0)


def prostate(filling: Filling) -> Shape:
    """The whole gland, its apex on the pelvic floor."""
    p = filling.prostate
    return Union(
        (Ellipsoid((0, -3, -20), (25 * p, 17 * p, 19 * p)), Cone((0, 0, -36, 9), (0, -2, -28, 15))),
        blend=6.0,
    )


def transition_zone(filling: Filling) -> Shape:
    """Both lobes of the transition zone, larger with hyperplasia."""
    p, g = filling.prostate, filling.gland
    lobe = (12.5 * p * g, 11.5 * p * g, 14.5 * p * g)
    return Union(
        (Ellipsoid((8.5 * p, -8, -17), lobe), Ellipsoid((-8.5 * p, -8, -17), lobe)), blend=4.0
    )


def seminal_vesicle() -> Shape:
    """The left seminal vesicle, a bent tube behind the bladder."""
    return Union(
        (
            Cone((4, 14, -2, 4), (15, 17, 5, 5.5)),
            Cone((15, 17, 5, 5.5), (25, 20, 9, 5.5)),
            Cone((25, 20, 9, 5.5), (34, 25, 14, 3)),
        ),
        blend=2.0,
    )


def rectum(filling: Filling) -> Chain:
    """Anal canal, ampulla and the start of the sigmoid, as one tube with the wall included."""
    r = filling.rectum
    return chain(
        {
            -82: ((0, 58, -6), (0, 64, -6)),
            -72: ((0, 52, 9), (0, 60, 9)),
            -56: ((0, 44, 10), (0, 52, 10)),
            -40: ((-2, 38, 11), (2, 42, 11)),
            -24: ((-5 * r, 37, 13), (5 * r, 38, 13)),
            -8: ((-9 * r, 48, 14 + 3 * r), (9 * r, 48, 14 + 3 * r)),
            12: ((-12 * r, 62, 12 + 6 * r), (10 * r, 61, 12 + 6 * r)),
            31: ((-2 * r, 66, 11 + 7 * r), (14 * r, 62, 11 + 7 * r)),
            51: ((-6, 60, 10 + 6 * r), (10, 56, 10 + 6 * r)),
            70: ((-8, 36, 9 + 5 * r), (6, 32, 9 + 5 * r)),
            82: ((-10, 8, 16), (14, 6, 16)),
            94: ((-6, -6, 8), (44, -16, 9)),
            100: ((0, -6, -6), (52, -18, -4)),
        }
    )


def rectal_gas(filling: Filling, rng: np.random.Generator) -> Shape:
    """One to three bubbles along the front of the lumen, where gas collects in a man on his back."""
    g, r = filling.gas, filling.rectum
    bubbles: list[Shape] = []
    for z, x, y in ((10, 0, 56), (32, 6, 58), (54, 2, 53), (-10, 0, 45)):
        size = g * r * rng.uniform(0.5, 1.25)
        if size < 0.25:
            continue
        dx = rng.uniform(-4, 4)
        bubbles.append(
            Cone(
                (x + dx - 5 * size, y, z - 7 * size, 8.5 * size),
                (x + dx + 5 * size, y + 1, z + 7 * size, 8 * size),
            )
        )
    return Union(tuple(bubbles), blend=3.0)


def bowel(rng: np.random.Generator) -> tuple[Shape, ...]:
    """Loops of bowel above the bladder: short bent tubes in the space in front of the sacrum."""
    loops: list[Shape] = []
    for _ in range(22):
        z = rng.uniform(54, 135)
        width = 30 + 0.45 * (z - 60)
        at = np.array(
            [rng.uniform(-width, width) * 1.25, rng.uniform(-68, -28 + 0.1 * (z - 60)), z]
        )
        radius = rng.uniform(9, 14)
        bend = rng.normal(0, [16, 9, 9])
        a, b, c = at - bend, at, at + bend[[1, 0, 2]]
        if max(abs(a[0]), abs(c[0])) > 88:
            continue
        # The abdominal wall curves back at the sides; the sacrum is behind.
        ends = [
            (
                float(p[0]),
                float(np.clip(p[1], radius + 0.0025 * p[0] ** 2 - 78, -12)),
                float(p[2]),
                radius,
            )
            for p in (a, b, c)
        ]
        loops.append(Union((Cone(ends[0], ends[1]), Cone(ends[1], ends[2])), blend=6.0))
    return tuple(loops)


def vessels(rng: np.random.Generator) -> tuple[Shape, ...]:
    """Left iliac and femoral vessels, with small branches in the pelvic fat."""
    artery = chain(
        {
            -130: ((68, -40, 4),),
            -60: ((74, -58, 4.2),),
            8: ((70, -66, 4.6),),
            51: ((54, -42, 4.8),),
            88: ((38, -22, 5),),
            140: ((26, -4, 6),),
        }
    )
    vein = chain(
        {
            -130: ((72, -32, 4.5),),
            -60: ((67, -52, 5.2),),
            8: ((60, -62, 5.6),),
            51: ((50, -30, 6),),
            88: ((36, -8, 6.5),),
            140: ((24, 8, 7.5),),
        }
    )
    branches: list[Shape] = []
    for _ in range(40):
        start = np.array([rng.uniform(20, 46), rng.uniform(-10, 60), rng.uniform(-10, 90)])
        end = start + rng.normal(0, [8, 12, 16])
        radius = rng.uniform(1.0, 2.3)
        (ax, ay, az), (bx, by, bz) = start.tolist(), end.tolist()
        branches.append(Cone((ax, ay, az, radius), (bx, by, bz, 0.8 * radius)))
    return artery, vein, *branches


def nerves() -> tuple[Shape, ...]:
    """Left sciatic and femoral nerve."""
    sciatic = chain(
        {
            -130: ((82, 34, 5),),
            -60: ((90, 42, 5),),
            0: ((82, 52, 5),),
            31: ((74, 56, 5),),
            60: ((56, 54, 5),),
            84: ((34, 62, 4),),
        }
    )
    femoral = chain({-10: ((80, -60, 2),), 60: ((74, -40, 2.5),), 130: ((62, -8, 2.5),)})
    return sciatic, femoral


def cord(rng: np.random.Generator) -> tuple[Shape, ...]:
    """Vessels of the left spermatic cord, in the fat of the groin."""
    tubes: list[Shape] = []
    for _ in range(4):
        dx, dy = rng.normal(0, 2.2, 2)
        path = chain(
            {
                -90: ((14, -82, 1.8),),
                -55: ((22, -82, 1.8),),
                -10: ((32, -80, 1.6),),
                14: ((50, -76, 1.2),),
            }
        )
        tubes.append(Moved(path, (float(dx), float(dy), 0.0)))
    return tuple(tubes)
