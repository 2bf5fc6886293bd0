"""The critic of method "wgan-gp": D(x, y) [B], how real the CT x looks beside the MR y.

A PatchGAN (Isola et al. 2017): strided convolutions judge overlapping patches, and D is the mean of the judgements over
the image. With the default four levels a patch has 78 pixels a side. There is no normalisation layer: one over the
batch would void the gradient penalty, which is a sample's own (Gulrajani et al. 2017, section 4).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrct_runtime.errors import UsageError
from mrct_train.config import Critic, TrainConfig

_SLOPE = 0.2


class PatchCritic(nn.Module):
    """D(x, y) [B] of the CT and the MR [B, 1, H, W]."""

    def __init__(self, config: Critic) -> None:
        super().__init__()
        widths = [2, *(config.base * 2**level for level in range(config.levels))]
        self.down = nn.ModuleList(
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1)
            for narrow, wide in itertools.pairwise(widths)
        )
        self.mix = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        for layer in (*self.down, self.mix):
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, _SLOPE)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean of the patches' judgements, one a sample."""
        h = torch.cat([x, y], dim=1)
        for layer in (*self.down, self.mix):
            h = functional.leaky_relu(layer(h), _SLOPE)
        judged: Tensor = self.last(h)
        return judged.mean(dim=(1, 2, 3))


def build_critic(config: TrainConfig) -> PatchCritic:
    """A fresh critic on PyTorch's default generator; UsageError where it halves the image away."""
    levels = config.critic.levels
    if config.size < 2**levels:
        raise UsageError(
            f"critic.levels {levels} halve an image of {config.size} pixels to nothing; "
            f"at most {config.size.bit_length() - 1} fit"
        )
    return PatchCritic(config.critic)
