"""The arithmetic and the traffic of one evaluation, layer by layer, and the least time that a machine can take for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

BYTES: Final[Mapping[str, int]] = MappingProxyType({"fp32": 4, "tf32": 4, "fp16": 2})
"""Bytes of a number at a precision."""


@dataclass(frozen=True)
class Layer:
    """One layer on one image: operations (a multiplication and an addition are two), and numbers that it moves."""

    operator: str
    flop: int
    activations: int
    """Numbers read and written that grow with the batch."""
    weights: int = 0
    """Numbers read once for a batch."""


@dataclass(frozen=True)
class Work:
    """All layers of a network that cost something when everything between them is fused into them."""

    layers: tuple[Layer, ...]

    @property
    def flop(self) -> int:
        """Operations for one image."""
        return sum(layer.flop for layer in self.layers)

    def roofline(self, batch: int, flop_s: float, bytes_s: float, bytes_a_number: int) -> float:
        """sum over layers of max(FLOP / peak, bytes / bandwidth): seconds that so many images take at least."""
        return sum(
            max(
                batch * layer.flop / flop_s,
                bytes_a_number * (batch * layer.activations + layer.weights) / bytes_s,
            )
            for layer in self.layers
        )
