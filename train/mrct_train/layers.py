"""Layers that the parts of the UNet share: norms of any width, and convolutions that start as zero."""

from __future__ import annotations

from torch import nn


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm with the most groups that divide the channels, at most `groups` and two channels each.

    64 channels or more with groups = 32 keep their 32 groups; 16 channels get 8, 48 get 24.
    """
    most = min(groups, max(channels // 2, 1))
    return nn.GroupNorm(max(g for g in range(1, most + 1) if channels % g == 0), channels)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zero weights: each block starts as its skip, the whole net as F = 0 (Ho et al. 2020)."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
