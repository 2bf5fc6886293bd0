"""Half precision in training: the network's layers under autocast, everything else in fp32.

bf16 has the range of fp32 and needs nothing more. fp16 ends at 65504 and loses gradients below 6e-8, so the loss is
scaled up before the backward pass, and a step whose gradient overflowed is skipped and the scale halved (Micikevicius
et al. 2018). The scale is part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEAST_SCALE: Final = 2.0**-14  # gradients that overflow even so are no matter of precision


@dataclass(frozen=True)
class Precision:
    """How a network's layers are computed on a device."""

    kind: Literal["fp32", "bf16", "fp16"]
    device: torch.device

    def run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """The network's output in fp32."""
        if self.kind == "fp32":
            out: Tensor = network(*inputs)
            return out
        with torch.autocast(self.device.type, dtype=_TYPES[self.kind]):
            out = network(*inputs)
        return out.float()

    def arrange(self, network: nn.Module) -> nn.Module:
        """The network on the device, channels last where a GPU's half-precision convolutions want them so."""
        network = network.to(self.device)
        if self.device.type == "cuda" and self.kind != "fp32":
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def scaler(self) -> torch.amp.GradScaler:
        """A loss scaler, which does nothing but in fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.kind == "fp16")


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """The scaler's state; empty where it does nothing."""
    return {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in scaler.state_dict().items()
    }


def restore_scaler(scaler: torch.amp.GradScaler, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `scaler_tensors` back."""
    if not scaler.is_enabled():
        return
    counts = {"growth_interval", "_growth_tracker"}
    state = {name: tensor.item() for name, tensor in tensors.items()}
    scaler.load_state_dict(
        {name: int(value) if name in counts else value for name, value in state.items()}
    )


def exhausted(scaler: torch.amp.GradScaler) -> bool:
    """True where no scale keeps the gradient finite: the run diverges."""
    return scaler.is_enabled() and scaler.get_scale() < _LEAST_SCALE
