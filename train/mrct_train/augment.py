"""Augmentation: mirrored and turned slices, MR and CT alike."""

from __future__ import annotations

import torch
from torch import Tensor


def augment(
    pair: tuple[Tensor, Tensor], kind: str, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Both images [B, 1, H, W], each sample's two mirrored or turned alike."""
    if kind == "none":
        return pair
    both = torch.cat(pair, dim=1)
    chance = torch.rand((len(both), 3), generator=random).tolist()
    turns = torch.randint(1, 4, (len(both),), generator=random).tolist()
    images = []
    for image, (mirror, turn, flip), quarter in zip(both, chance, turns, strict=True):
        moved = image.flip(2) if mirror < 0.5 else image
        if kind == "authors":
            moved = torch.rot90(moved, quarter, (1, 2)) if turn < 0.5 else moved
            moved = moved.flip(1) if flip < 0.5 else moved
        images.append(moved)
    x0, y = torch.stack(images).split(1, dim=1)
    return x0, y
