"""The networks that samplers see: eps_hat(x, y, t), whatever the process and the preconditioning, and x_0(y).

x = alpha(t) x_0 + std(t) eps. The authors' VE net returns h with score = h / std; as score = -eps / std, this one
returns eps_hat = -h, so that both processes share one convention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Process
from mrct_train.unet import UNet, UNetConfig


@dataclass(frozen=True)
class Residual:
    """The preconditioning for data of mean m and deviation s, both in units of the CT's [0, 1]."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise UsageError(
                f"the data's deviation must be positive, got {self.deviation}: constant images?"
            )


class Network(nn.Module):
    """eps_hat(x, y, t) [B, 1, H, W]; x, y [B, 1, H, W], t [B] in [0, 1], all fp32.

    Without a preconditioning eps_hat is the UNet's output, as in the paper. With `Residual(m, s)`, and
    n^2 = alpha^2 s^2 + std^2,

        eps_hat = (std / n^2) (x - alpha m) + (alpha s / n) F((x - alpha m) / n, y, ln(std / alpha) / 4)

    the first term is the best linear guess for N(m, s^2) pixels, and F only has to learn the rest, with inputs and
    targets of unit variance at every t (Karras et al. 2022, table 1, solved for eps).
    """

    def __init__(
        self, unet_config: UNetConfig, process: Process, residual: Residual | None = None
    ) -> None:
        super().__init__()
        self.unet = UNet(unet_config)
        self.residual = residual
        self.noise_level = noise_level(process) if residual else None

    def forward(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The noise in x [B, 1, H, W], estimated."""
        if self.residual is None or self.noise_level is None:
            out: Tensor = self.unet(torch.cat([x, y], dim=1), t)
            return out
        mean, deviation = self.residual.mean, self.residual.deviation
        level: tuple[Tensor, Tensor] = self.noise_level(t)
        alpha, std = level
        label = torch.log(std / alpha) / 4
        alpha, std = alpha[:, None, None, None], std[:, None, None, None]
        n = torch.sqrt(alpha * alpha * (deviation * deviation) + std * std)
        unit = (x - alpha * mean) / n
        learned: Tensor = self.unet(torch.cat([unit, y], dim=1), label)
        return (std / n) * unit + (alpha * deviation / n) * learned


class DirectNetwork(nn.Module):
    """x_0(y) [B, 1, H, W] of the MR y [B, 1, H, W] at once: the UNet without time, in units of [0, 1], not clipped."""

    def __init__(self, unet_config: UNetConfig) -> None:
        super().__init__()
        self.unet = UNet(unet_config, inputs=1, timed=False)

    def forward(self, y: Tensor) -> Tensor:
        """The CT that belongs to y [B, 1, H, W], estimated."""
        out: Tensor = self.unet(y)
        return out


def noise_level(process: Process) -> nn.Module:
    """The module t [B] -> (alpha, std) [B] of a process, in fp32 and in operators that ONNX has."""
    match process:
        case VESDE():
            return VarianceExploding(process)
        case DDPM():
            return LogSnrTable(process)
        case _:
            kind = type(process).__name__
            raise UsageError(
                f"no residual preconditioning for {kind}: use preconditioning = 'none'"
            )


class VarianceExploding(nn.Module):
    """alpha = 1 and std = sqrt((S^2t - 1) / (2 ln S))."""

    def __init__(self, process: VESDE) -> None:
        super().__init__()
        self.log_sigma = math.log(process.sigma)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, std) [B]; e^u - 1 as tanh(u / 2) (e^u + 1), which cancels nowhere and, unlike expm1, is in ONNX."""
        u = 2 * self.log_sigma * t
        variance = torch.tanh(u / 2) * (torch.exp(u) + 1) / (2 * self.log_sigma)
        return torch.ones_like(t), torch.sqrt(variance)


class LogSnrTable(nn.Module):
    """alpha = sqrt(sigmoid(l)), std = sqrt(sigmoid(-l)), with l the log-SNR, linear between the times i / T."""

    def __init__(self, process: DDPM) -> None:
        super().__init__()
        self.steps = process.steps
        self.log_snr: Tensor
        self.register_buffer(
            "log_snr", torch.tensor(process.log_snr, dtype=torch.float32), persistent=False
        )

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, std) [B]; exact at the grid's times, constant outside [1 / T, 1]."""
        at = torch.clamp(t * self.steps - 1, 0.0, self.steps - 1.0)
        low = torch.clamp(torch.floor(at), 0.0, max(self.steps - 2.0, 0.0))
        index = low.to(torch.int64)
        below, above = self.log_snr[index], self.log_snr[torch.clamp(index + 1, max=self.steps - 1)]
        log_snr = below + (at - low) * (above - below)
        # ONNX Runtime's Sigmoid is exact to 1e-7 absolutely, which is a thousandth of std at 1 / T
        return 1 / torch.sqrt(1 + torch.exp(-log_snr)), 1 / torch.sqrt(1 + torch.exp(log_snr))
