"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """w_ema <- d w_ema + (1 - d) w, with d = min(decay, (1 + k) / (10 + k)) at step k.

    The warm-up lets the average forget the initial weights: for k below some 10 / (1 - decay) it spans the last tenth
    of the steps, whatever their number.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step k = 0, 1, ..."""
        keep = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.network.parameters())
        weights: list[Tensor] = list(network.parameters())
        # All in one call, which takes a GPU few kernels; as in torch.optim.swa_utils.
        torch._foreach_lerp_(averages, weights, 1 - keep)
