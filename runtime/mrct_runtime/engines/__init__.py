"""Engines: a loaded network behind one small protocol.

A new backend is a file with an engine and one line in ENGINES; its heavy imports stay inside that file.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.errors import UsageError


class Engine(Protocol):
    """A network that predicts eps, or the image at once, and the place where its arrays live."""

    @property
    def xp(self) -> ModuleType:
        """The array module, numpy or cupy, of everything that goes in and out."""
        ...

    @property
    def max_batch(self) -> int:
        """The largest batch that `bind` takes."""
        ...

    def bind(self, cond: Array) -> Denoiser:
        """eps(x, t) with the condition [B, 1, H, W] bound, until the next `bind`; x_0 of a direct network."""
        ...

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in host memory."""
        ...

    def close(self) -> None:
        """Give the network's memory back; the engine serves no more."""
        ...


ENGINES: dict[str, str] = {
    "analytic": "mrct_runtime.engines.analytic:Analytic",
    "onnxruntime": "mrct_runtime.engines.onnxruntime:OnnxRuntime",
}


def engine_class(name: str) -> type[Any]:
    """The class behind an engine's name, imported now; UsageError where there is none."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}; choose from {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found
