"""One subject's anatomy: the shapes with their tissues, in painting order, and the warp that makes every pelvis its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrct_train.phantom import body, muscles, organs, skeleton
from mrct_train.phantom.combine import Mirrored, Moved
from mrct_train.phantom.fields import Field, field
from mrct_train.phantom.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mrct_train.phantom.shapes import Shape

Profile = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Band:
    """The tissue of a shape grown by `grow` mm (shrunk when negative), a number or ((z, mm), ...) along z."""

    tissue: Tissue
    grow: float | Profile = 0.0

    def at(self, z: float) -> float:
        """The growth in mm at height z."""
        if isinstance(self.grow, tuple):
            zs, values = zip(*self.grow, strict=True)
            return float(np.interp(z, zs, values))
        return self.grow


@dataclass(frozen=True, eq=False)
class Layer:
    """A shape and its bands from the outermost to the innermost; an enclosed one stays under the skin."""

    shape: Shape
    bands: tuple[Band, ...]
    enclosed: bool = True


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Layers in painting order; body coordinates are (p - warp(p)) / scale for a point p in mm."""

    layers: tuple[Layer, ...]
    envelope: Shape
    scale: tuple[float, float, float]
    roll: float
    warps: tuple[tuple[float, Field, Field], ...]

    def body_coordinates(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """x and y [H, W] and z, in the subject's own frame, of the pixels at columns x [W] and rows y [H]."""
        sx, sy, sz = self.scale
        px = np.broadcast_to(x.astype(np.float32), (len(y), len(x)))
        py = np.broadcast_to(y.astype(np.float32)[:, None], (len(y), len(x)))
        u = np.cos(self.roll) * px + np.sin(self.roll) * py
        v = np.cos(self.roll) * py - np.sin(self.roll) * px
        # The back lies flat on the table, so the warp fades out towards it.
        freedom = np.clip((116.0 - y) / 40.0, 0, 1).astype(np.float32)[:, None]
        for amplitude, first, second in self.warps:
            u = u - np.float32(amplitude) * first.plane(x, y, z)
            v = v - np.float32(amplitude) * freedom * second.plane(x, y, z)
        return (u / sx).astype(np.float32), (v / sy).astype(np.float32), z / sz


# The cortical shell thickens from the femoral neck to the shaft.
_FEMUR_CORTEX: Profile = ((-130, -5.5), (-70, -5.0), (-45, -3.4), (-20, -1.8), (24, -1.1))
_FEMUR_MARROW: Profile = ((-80, -5.4), (-62, -9.0), (-45, -40.0), (0, -60.0))
_PLANE = Band(Tissue.FAT, 0.9)


def random_anatomy(rng: np.random.Generator) -> Anatomy:
    """An anatomy drawn from `rng`."""
    size = rng.normal(1.0, 0.03)
    scale = tuple(float(np.clip(size * rng.normal(1, 0.02), 0.92, 1.06)) for _ in range(3))
    filling = organs.Filling(
        bladder=float(rng.uniform(0.62, 1.25)),
        rectum=float(rng.uniform(0.45, 1.1)),
        gas=float(rng.uniform(0.0, 1.0)),
        prostate=float(rng.uniform(0.86, 1.18)),
        gland=float(rng.uniform(0.85, 1.15)),
    )
    outside = body.body(float(rng.uniform(-9.0, 10.0)))
    tilt = float(np.tan(np.deg2rad(rng.normal(0, 3.0))))
    layers = (
        *_skin(outside),
        *_muscles(rng),
        *_bones(rng, tilt),
        *_organs(rng, filling),
    )
    warps = (
        (4.0, field(rng, (90, 90, 90), 12), field(rng, (90, 90, 90), 12)),
        (0.9, field(rng, (32, 32, 32), 24), field(rng, (32, 32, 32), 24)),
        (0.35, field(rng, (12, 11, 11), 48), field(rng, (12, 11, 11), 48)),
    )
    roll = float(np.deg2rad(np.clip(rng.normal(0, 1.0), -2, 2)))
    return Anatomy(layers, outside, (scale[0], scale[1], scale[2]), roll, warps)


def _skin(outside: Shape) -> tuple[Layer, ...]:
    bands = (Band(Tissue.SKIN), Band(Tissue.FAT, -2.0))
    groin = (Band(Tissue.SKIN), Band(Tissue.WALL, -1.8))
    corpora = (Band(Tissue.CAVERNOSUM),)
    return (
        Layer(body.genitals(), groin, enclosed=False),
        Layer(outside, bands, enclosed=False),
        Layer(body.genitals(), (Band(Tissue.WALL, -1.8),), enclosed=False),
        Layer(body.CORPORA, corpora, enclosed=False),
        Layer(body.BULB, corpora),
        *_pair(body.CRUS, corpora),
        *_pair(body.TESTIS, (Band(Tissue.WALL, 1.2), Band(Tissue.CAVERNOSUM)), enclosed=False),
    )


def _muscles(rng: np.random.Generator) -> tuple[Layer, ...]:
    """Each muscle in a coat of fat; its bulk and place vary with the side."""
    bulk = rng.normal(2.0, 0.8)
    layers: list[Layer] = []
    for shape in muscles.MUSCLES:
        for side in (shape, Mirrored(shape)):
            grow = float(np.clip(bulk + rng.normal(0, 0.4), -0.5, 3.4))
            shift = (*map(float, rng.normal(0, 0.7, 2)), 0.0)
            moved = Moved(side, (shift[0], shift[1], shift[2]))
            layers.append(Layer(moved, (Band(Tissue.FAT, grow + 0.9), Band(Tissue.MUSCLE, grow))))
    return tuple(layers)


def _bones(rng: np.random.Generator, tilt: float) -> tuple[Layer, ...]:
    cortex = float(rng.uniform(1.5, 2.3))
    flat = (Band(Tissue.CORTICAL), Band(Tissue.TRABECULAR, -cortex))
    thigh = (
        Band(Tissue.CORTICAL),
        Band(Tissue.TRABECULAR, _FEMUR_CORTEX),
        Band(Tissue.MARROW, _FEMUR_MARROW),
    )
    # The sacrum stands 70 mm behind the hips' axis, so a tilt of the pelvis lifts it.
    lift = (0.0, 0.0, float(np.clip(70 * tilt, -7, 7)))
    sacrum = Moved(skeleton.sacrum(), lift)
    return (
        *_pair(skeleton.hip_bone(), (Band(Tissue.FAT, 0.5), *flat)),
        *_pair(skeleton.joint_space(), (Band(Tissue.CARTILAGE),)),
        *_pair(skeleton.femur(), (Band(Tissue.FAT, 0.4), *thigh)),
        Layer(skeleton.SYMPHYSIS, (Band(Tissue.CARTILAGE),)),
        Layer(Moved(skeleton.SACRUM, lift), (Band(Tissue.CARTILAGE, 1.6),)),
        Layer(sacrum, (Band(Tissue.CORTICAL), Band(Tissue.TRABECULAR, -0.75 * cortex))),
        Layer(
            Moved(skeleton.SPINAL_CANAL, lift),
            (Band(Tissue.CORTICAL, 1.5), Band(Tissue.FAT), Band(Tissue.NERVE, -2.5)),
        ),
        *(
            layer
            for hole in skeleton.FORAMINA
            for layer in _pair(
                Moved(hole, lift),
                (Band(Tissue.CORTICAL, 1.3), Band(Tissue.FAT), Band(Tissue.NERVE, -1.8)),
            )
        ),
    )


def _organs(rng: np.random.Generator, filling: organs.Filling) -> tuple[Layer, ...]:
    shift = (float(rng.normal(0, 1.5)), float(rng.normal(0, 1.5)), float(rng.normal(0, 2.5)))
    wall = 5.0 - 2.0 * filling.bladder
    tube = organs.rectum(filling)
    bowel = []
    for loop in organs.bowel(rng):
        inner = rng.choice([Tissue.STOOL, Tissue.GAS, Tissue.WALL, Tissue.STOOL])
        bowel.append(
            Layer(loop, (Band(Tissue.FAT, 1.5), Band(Tissue.WALL), Band(Tissue(inner), -2.6)))
        )
    pipes = tuple(
        layer
        for shapes in (organs.vessels(rng), organs.cord(rng))
        for shape in shapes
        for layer in _pair(shape, (Band(Tissue.VESSEL),))
    )
    nerves = tuple(
        layer
        for shape in organs.nerves()
        for layer in _pair(shape, (Band(Tissue.FAT, 1.0), Band(Tissue.NERVE)))
    )
    gland = (Band(Tissue.FAT, 1.2), Band(Tissue.WALL, 0.3), Band(Tissue.PERIPHERAL_ZONE, -0.8))
    zone = (Band(Tissue.WALL), Band(Tissue.TRANSITION_ZONE, -0.8))
    vesicle = (Band(Tissue.WALL), Band(Tissue.SEMINAL_VESICLE, -1.0))
    return (
        *pipes,
        *nerves,
        *bowel,
        *_pair(Moved(organs.seminal_vesicle(), shift), vesicle),
        Layer(
            Moved(organs.bladder(filling), shift),
            (Band(Tissue.FAT, 2.0), Band(Tissue.WALL), Band(Tissue.URINE, -wall)),
        ),
        Layer(Moved(organs.prostate(filling), shift), gland),
        Layer(Moved(organs.transition_zone(filling), shift), zone),
        Layer(
            tube,
            (
                Band(Tissue.FAT, 1.0),
                Band(Tissue.WALL),
                Band(Tissue.STOOL, ((-60, -12.0), (-45, -6.0), (-24, -4.5), (0, -3.2))),
            ),
        ),
        Layer(organs.rectal_gas(filling, rng), (Band(Tissue.GAS),)),
    )


def _pair(shape: Shape, bands: tuple[Band, ...], *, enclosed: bool = True) -> tuple[Layer, Layer]:
    """The left shape and its reflection."""
    return Layer(shape, bands, enclosed=enclosed), Layer(Mirrored(shape), bands, enclosed=enclosed)
