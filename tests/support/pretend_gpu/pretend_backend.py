"""The CPU's engine, which says that it is on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import cupy

from mrct_runtime.device import Host
from mrct_runtime.engines import Backend
from mrct_runtime.engines.onnxruntime import open_cpu


@dataclass(frozen=True)
class _Pretended(Host):
    name: str = "cuda:0"
    stream: int = 77

    @property
    def xp(self):
        return cupy


class _OnGpu:
    def __init__(self, engine, precision) -> None:
        self._engine = engine
        self.device = _Pretended()
        self.backend = Backend("pretended", "cuda:0", precision)
        self.max_batch, self.bind, self.close = engine.max_batch, engine.bind, engine.close


def open_pretended(network, target):
    return _OnGpu(open_cpu(network, target), network.precision)
