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


def open_pretended(network, target):
    engine = open_cpu(network, target)
    engine.device = _Pretended()
    engine.backend = Backend("pretended", "cuda:0", network.precision)
    return engine
