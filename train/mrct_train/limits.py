"""How a run is carried out: device, threads, processes, time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from mrct_runtime.engines.target import MOST_THREADS
from mrct_runtime.errors import EngineError, UsageError


@dataclass(frozen=True)
class Limits:
    """How a run is carried out; none of it changes what is computed, up to rounding."""

    device: str = "cpu"
    """cpu, cuda or cuda:N; with several processes each takes the device of its own number."""
    threads: int | None = None
    max_minutes: float = math.inf
    checkpoint_minutes: float = 5.0
    devices: int | None = None
    """Processes on this machine; None for as many as torchrun started, or one."""
    nodes: int = 1
    """Machines, each with so many devices."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share the work: "ddp", which "auto" means, holds all weights on each; "fsdp" a part."""

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, got {self.threads}")
        for name in ("devices", "nodes"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UsageError(f"{name} must be at least 1, got {count}")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise _unknown(self.device) from error
        if device.type == "cuda":
            # PyTorch keeps an index in eight bits, so a large one comes back negative
            if not 0 <= (device.index or 0) < torch.cuda.device_count():
                raise EngineError(f"the device {self.device} is not available; use --device cpu")
            if self.devices and self.devices > torch.cuda.device_count():
                count = torch.cuda.device_count()
                raise EngineError(
                    f"{self.devices} devices were asked for, this machine has {count}"
                )
        elif device.type != "cpu":
            raise _unknown(self.device)


def _unknown(device: str) -> UsageError:
    return UsageError(f"unknown device {device!r}; choose from cpu, cuda and cuda:N")
