"""The training loss: how far eps_hat is from the noise that was added, at random times.

L = E || eps_hat(alpha x_0 + std eps, y, t) - eps ||^2. For the DDPM this is L_simple (Ho et al. 2020, equation 14),
with t uniform on {1..T} / T. For the VE-SDE it is the denoising score matching loss with lambda = std^2, since
std score + eps = eps - eps_hat, with t uniform on [t_min, 1]. Both are a mean over the batch and the pixels. Song's
code sums over the pixels: a constant factor, which Adam does not see, but which would put every gradient over the
clipping threshold and make it depend on the image size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mrct_runtime.process import DDPM, Process


class Draw(NamedTuple):
    """What is random in one loss: times t [B] float64 on the CPU, and noise eps [B, 1, H, W]."""

    t: Tensor
    eps: Tensor


def generator(seed: int, *key: int) -> torch.Generator:
    """A stream of its own for every (seed, key), such as a step: a resumed run has no generator state to restore."""
    word = np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word) >> 1)


def draw(process: Process, shape: torch.Size, random: torch.Generator, *, stratified: bool) -> Draw:
    """Times and noise for a batch of `shape` [B, 1, H, W], on the CPU."""
    u = uniform(shape[0], random, stratified=stratified)
    return Draw(times(process, u), torch.randn(shape, generator=random))


def uniform(batch: int, random: torch.Generator, *, stratified: bool) -> Tensor:
    """u [B] in [0, 1), float64.

    Stratified, sample b falls in one B-th of the interval: each u is still uniform when a batch is in random order,
    the loss keeps its expectation, and most of its variance over t is gone (Kingma et al. 2021, appendix I.1).
    """
    if not stratified:
        return torch.rand(batch, generator=random, dtype=torch.float64)
    shift = torch.rand(1, generator=random, dtype=torch.float64)
    return torch.remainder((torch.arange(batch, dtype=torch.float64) + shift) / batch, 1.0)


def times(process: Process, u: Tensor) -> Tensor:
    """t [B] float64, the process's training times at the quantiles u [B]."""
    if isinstance(process, DDPM):
        return (torch.floor(u * process.steps) + 1) / process.steps
    return process.t_min + (process.t_max - process.t_min) * u


def noisy(process: Process, x0: Tensor, drawn: Draw) -> Tensor:
    """x = alpha(t) x_0 + std(t) eps [B, 1, H, W], the schedule in float64 and the image in float32."""
    at = drawn.t.tolist()
    alpha = x0.new_tensor([process.alpha(t) for t in at])[:, None, None, None]
    std = x0.new_tensor([process.std(t) for t in at])[:, None, None, None]
    return alpha * x0 + std * drawn.eps


def unit_weight(process: Process, t: Tensor, deviation: float) -> Tensor:
    """1 + (std / (alpha s))^2 [B], which turns an eps loss into one on the F of `Residual`, alike at all times.

    L_simple hardly sees the image at high noise, where eps_hat is almost x / std whatever the MR shows. There the
    translation is decided, so a short training gains by this weight (Karras et al. 2022, section 5).
    """
    ratio = [process.std(at) / (process.alpha(at) * deviation) for at in t.tolist()]
    return 1 + torch.square(torch.tensor(ratio, dtype=torch.float64))


class Example(NamedTuple):
    """A batch of the noise predictor: its inputs x, y [B, 1, H, W] and t [B], the noise in x, and weights [B]."""

    x: Tensor
    y: Tensor
    t: Tensor
    eps: Tensor
    weight: Tensor


def examples(
    process: Process, pair: tuple[Tensor, Tensor], drawn: Draw, weight: Tensor | None = None
) -> Example:
    """The batch that a pair (x_0, y) and a draw make; the weight is 1 where none is given."""
    x0, y = pair
    drawn = Draw(drawn.t, drawn.eps.to(x0))
    t = drawn.t.to(x0)
    weights = torch.ones_like(t) if weight is None else weight.to(x0)
    return Example(noisy(process, x0, drawn), y, t, drawn.eps, weights)


def squared_error(eps_hat: Tensor, example: Example) -> Tensor:
    """mean w (eps_hat - eps)^2 [], over batch and pixels."""
    return torch.mean(example.weight[:, None, None, None] * torch.square(eps_hat - example.eps))


def eps_loss(
    network: nn.Module,
    process: Process,
    pair: tuple[Tensor, Tensor],
    drawn: Draw,
    weight: Tensor | None = None,
) -> Tensor:
    """The loss [] of a network on a pair (x_0, y), each [B, 1, H, W], with weights [B]."""
    example = examples(process, pair, drawn, weight)
    return squared_error(network(example.x, example.y, example.t), example)
