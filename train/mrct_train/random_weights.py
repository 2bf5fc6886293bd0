"""Weights as after training, without training: for measurements of speed and of rounding, which need no good network."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> None:
    """Draws every parameter anew: no layer is zero and no GroupNorm the identity, which optimisers would remove.

    Convolutions and linear layers keep the variance of what they are given.
    """
    drawn = torch.Generator().manual_seed(seed)
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, nn.GroupNorm) and name == "weight":
                weight.uniform_(0.5, 1.5, generator=drawn)
            elif weight.ndim > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=drawn)
            else:
                weight.normal_(0, 0.1, generator=drawn)
