"""The paper's UNet: F(images, t) of a noise predictor, or F(images) of a network that gives the CT at once.

With the default `UNetConfig` a noise predictor of two images, the noisy CT and the MR, has 26.12 M parameters and takes
818 GFLOP for one 512 x 512 image, the authors' figures. The structure that meets both: two residual blocks a level on
the way down, two in the middle and three a level on the way up, each of these with one skip concatenated; the Fourier
features go straight into the Swish and Linear of every block, with no MLP between. Without time the same blocks have
no Linear: 24.92 M parameters.

Two options that the paper does not have: behind a patched stem (`stem` = 2 or 4) the whole net works on patches of that
many pixels a side, and with `attention_heads` the lowest level attends to itself, after each of its blocks and once in
the middle. Without them the net is the same weight for weight.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrct_train.attention import Attention
from mrct_train.config import UNetConfig
from mrct_train.layers import group_norm, zeroed

__all__ = ["UNet", "UNetConfig"]


class UNet(nn.Module):
    """F [B, 1, H, W] of images [B, `inputs`, H, W] and, where `timed`, t [B]; H, W are multiples of `config.multiple`."""

    def __init__(self, config: UNetConfig, *, inputs: int = 2, timed: bool = True) -> None:
        super().__init__()
        self.embedding = FourierEmbedding(config.embedding, config.fourier_scale) if timed else None
        stem = config.stem
        # 3 x 3 patches under one kernel: a 3 x 3 convolution of the patches, their pixels its channels
        self.first = nn.Conv2d(inputs, config.base, 3 * stem, stride=stem, padding=stem)
        widths = [config.base * multiplier for multiplier in config.multipliers]
        lowest = len(widths) - 1

        def block(level: int, taken: int) -> nn.Module:
            return _block(taken, widths[level], config, timed=timed, attends=level == lowest)

        channels, skips = config.base, [config.base]
        down: list[nn.Module] = []
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                down.append(block(level, channels))
                channels = width
                skips.append(channels)
            if level < lowest:
                down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.down = nn.ModuleList(down)
        middle = [block(lowest, channels), ResidualBlock(channels, channels, config, timed=timed)]
        self.middle = nn.ModuleList(middle)
        up: list[nn.Module] = []
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                up.append(block(level, channels + skips.pop()))
                channels = width
            if level > 0:
                up.append(Upsample(channels))
        self.up = nn.ModuleList(up)
        self.norm = group_norm(channels, config.groups)
        self.last = zeroed(nn.Conv2d(channels, stem**2, 3, padding=1))
        self.pixels = nn.PixelShuffle(stem) if stem > 1 else nn.Identity()

    def forward(self, images: Tensor, t: Tensor | None = None) -> Tensor:
        """F [B, 1, H, W]; t is any noise label near [-2, 2], in fp32, and only for a net with time."""
        embedding = functional.silu(self.embedding(t)) if self.embedding else None
        h = self.first(images)
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, BLOCKS) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        for layer in self.up:
            if isinstance(layer, BLOCKS):
                h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
            else:
                h = layer(h)
        out: Tensor = self.pixels(self.last(functional.silu(self.norm(h))))
        return out


class FourierEmbedding(nn.Module):
    """[sin(2 pi W t), cos(2 pi W t)] [B, features], W ~ N(0, scale^2) drawn once (Tancik et al. 2020; Song et al. 2021)."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.frequency: Tensor
        self.register_buffer("frequency", 2 * math.pi * scale * torch.randn(features // 2))

    def forward(self, t: Tensor) -> Tensor:
        """The features; arguments reach 2 pi 30 * 4 rad, too far for half precision."""
        phase = t[:, None] * self.frequency[None, :]
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class ResidualBlock(nn.Module):
    """skip(h) + conv(swish(norm(conv(swish(norm(h))) + linear(embedding)))); the embedding arrives after its Swish.

    Without time the linear term is absent.
    """

    def __init__(self, channels: int, width: int, config: UNetConfig, *, timed: bool) -> None:
        super().__init__()
        self.norm1 = group_norm(channels, config.groups)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.time = nn.Linear(config.embedding, width) if timed else None
        self.norm2 = group_norm(width, config.groups)
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        """[B, width, H, W] of h [B, channels, H, W] and the embedding [B, E]."""
        residual = self.conv1(functional.silu(self.norm1(h)))
        if self.time is not None:
            residual = residual + self.time(embedding)[:, :, None, None]
        residual = self.conv2(functional.silu(self.norm2(residual)))
        out: Tensor = self.skip(h) + residual
        return out


class AttendingBlock(nn.Module):
    """attention(block(h, embedding)): a residual block after which every pixel sees every other."""

    def __init__(self, block: ResidualBlock, attention: Attention) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        """[B, width, H, W] of h [B, channels, H, W] and the embedding [B, E]."""
        out: Tensor = self.attention(self.block(h, embedding))
        return out


BLOCKS: Final = (ResidualBlock, AttendingBlock)
"""The layers that take the embedding and, on the way up, a skip."""


def _block(
    channels: int, width: int, config: UNetConfig, *, timed: bool, attends: bool
) -> ResidualBlock | AttendingBlock:
    block = ResidualBlock(channels, width, config, timed=timed)
    if not (attends and config.attention_heads):
        return block
    return AttendingBlock(block, Attention(width, config.attention_heads, config.groups))


class Upsample(nn.Module):
    """The nearest neighbour at twice the size, then a 3 x 3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, 2H, 2W] of h [B, C, H, W]."""
        out: Tensor = self.conv(functional.interpolate(h, scale_factor=2.0, mode="nearest"))
        return out
