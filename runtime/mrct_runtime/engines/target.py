"""What is asked of an engine: where, by which backend, at which precision, for which shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from mrct_runtime.device import number
from mrct_runtime.errors import UsageError

Precision: TypeAlias = Literal["fp32", "fp16"]

MOST_THREADS: Final = 1024
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:[0-9]{1,2})?")


@dataclass(frozen=True)
class Target:
    """Where a network is to run, and how.

    `device` is auto, cpu, cuda or cuda:N. `backend` names one of ENGINES, None the first that serves the device.
    `precision` None is fp16 on a GPU where the bundle has it, else fp32. `threads` are the CPU's, None all of this process.
    `batch` is the number of images that engines with fixed or tuned shapes are made for. `fuse` lets a backend rewrite the
    graph for its own fused operators.
    """

    device: str = "auto"
    backend: str | None = None
    precision: Precision | None = None
    threads: int | None = None
    batch: int = 10
    fuse: bool = True

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"unknown device {self.device!r}; choose auto, cpu, cuda or cuda:N")
        if self.precision not in {None, "fp32", "fp16"}:
            raise UsageError(f"unknown precision {self.precision!r}; choose fp32 or fp16")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, got {self.threads}")
        if self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")

    @property
    def gpu(self) -> int | None:
        """The number of the GPU that is asked for; None for the CPU or any."""
        if not self.device.startswith("cuda"):
            return None
        return number(self.device)


@dataclass(frozen=True, eq=False)
class Network:
    """A verified graph in ONNX, and the grid that it is meant for."""

    model: bytes = field(repr=False)
    precision: Precision
    size: int
    """Height and width of the model's images."""
    opset: int
    trial: tuple[int, int, int] | None = None
    """Batch, height and width of the self-test, for engines of fixed shapes, which have to serve these as well."""
    tell: Callable[[str], None] = field(default=lambda _line: None, repr=False)
    """Takes a line about what lasts, such as the building of an engine."""
