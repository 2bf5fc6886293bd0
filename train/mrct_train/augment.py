"""Augmentation: mirrored, turned and moved slices, MR and CT alike, and an MR of another intensity."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mrct_train.config import Augmentation


class Chances(NamedTuple):
    """What is random in the changes of a batch: eight numbers in [0, 1) a sample, and its quarter turns, 1 to 3."""

    unit: list[list[float]]
    quarters: list[int]

    @classmethod
    def draw(cls, batch: int, random: torch.Generator) -> Chances:
        """Those of a batch; every sample takes the same count, so that one option leaves the others' draws alone."""
        unit = torch.rand((batch, 8), generator=random).tolist()
        return cls(unit, torch.randint(1, 4, (batch,), generator=random).tolist())

    def of(self, rows: slice) -> Chances:
        """Those of some samples of the batch."""
        return Chances(self.unit[rows], self.quarters[rows])


def change(
    pair: tuple[Tensor, Tensor], kind: Augmentation, spacing_mm: float, chances: Chances
) -> tuple[Tensor, Tensor]:
    """(x_0, y) [B, 1, H, W] with each sample changed by its own chances; beyond the edge lies 0, air."""
    x0, y = pair
    if kind == Augmentation():
        return pair
    moved = []
    for both, drawn, quarter in zip(torch.cat([x0, y], dim=1), *chances, strict=True):
        image = both.flip(2) if kind.mirror and drawn[0] < 0.5 else both
        if kind.turns:
            image = torch.rot90(image, quarter, (1, 2)) if drawn[1] < 0.5 else image
            image = image.flip(1) if drawn[2] < 0.5 else image
        moved.append(_moved(image, kind, spacing_mm, drawn[3:6]))
    x0, y = torch.stack(moved).split(1, dim=1)
    return x0, _intensity(y, kind.intensity, [drawn[6:] for drawn in chances.unit])


def _moved(image: Tensor, kind: Augmentation, spacing_mm: float, drawn: list[float]) -> Tensor:
    """The images [C, H, W] turned about their centre and shifted, by linear interpolation."""
    if not (kind.rotation_degrees or kind.shift_mm):
        return image
    angle = math.radians(kind.rotation_degrees) * (2 * drawn[0] - 1)
    height, width = image.shape[1:]
    # affine_grid counts in half images, and aspect keeps a turn a turn where they are not square
    down, right = (
        2 * kind.shift_mm / spacing_mm * (2 * u - 1) / side
        for u, side in zip(drawn[1:], (height, width), strict=True)
    )
    cosine, sine, aspect = math.cos(angle), math.sin(angle), height / width
    theta = torch.tensor([[[cosine, -sine * aspect, right], [sine / aspect, cosine, down]]])
    grid = functional.affine_grid(theta, [1, 1, height, width], align_corners=False)
    out: Tensor = functional.grid_sample(image[None], grid, align_corners=False)
    return out[0]


def _intensity(y: Tensor, most: float, drawn: list[list[float]]) -> Tensor:
    """gain y^gamma, cut to [0, 1], gain and gamma each sample's own."""
    if not most:
        return y
    gain, gamma = (1 + most * (2 * torch.tensor(drawn) - 1))[:, :, None, None, None].unbind(1)
    return (gain * y**gamma).clamp(0, 1)
