"""Engines: a loaded network behind one small protocol.

A new backend is a file with a function open(network, target) -> Engine and one line in ENGINES; its heavy imports stay
inside that file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, NamedTuple, Protocol, TypeAlias

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.device import Device
from mrct_runtime.engines.target import Network, Target
from mrct_runtime.errors import UsageError


@dataclass(frozen=True)
class Backend:
    """What evaluates a network, as a report tells it: the name in ENGINES, the device, precision and threads."""

    engine: str
    device: str
    precision: str
    threads: int | None = None
    fused: bool = False
    """Whether the graph was rewritten for the backend's own fused operators."""


class Engine(Protocol):
    """A network that predicts eps, or the image at once, and the place where its arrays live."""

    @property
    def backend(self) -> Backend:
        """What this engine is."""
        ...

    @property
    def device(self) -> Device:
        """Where everything lives that goes in and out."""
        ...

    @property
    def max_batch(self) -> int:
        """The largest batch that `bind` takes."""
        ...

    def bind(self, cond: Array) -> Denoiser:
        """eps(x, t) with the condition [B, 1, H, W] bound, until the next `bind`; x_0 of a direct network."""
        ...

    def close(self) -> None:
        """Give the network's memory back; the engine serves no more."""
        ...


Opener: TypeAlias = Callable[[Network, Target], Engine]


class Entry(NamedTuple):
    """Where a backend's `Opener` is, as module:attribute, and the kind of device that it serves.

    One that is not `automatic` is taken only where it is named. One that `fuses` heeds `Target.fuse`.
    """

    opener: str
    serves: Literal["cpu", "cuda"]
    automatic: bool = True
    fuses: bool = False


_ONNX_RUNTIME = "mrct_runtime.engines.onnxruntime"
_TENSORRT = "mrct_runtime.engines.tensorrt"

ENGINES: dict[str, Entry] = {
    "tensorrt-rtx": Entry(f"{_TENSORRT}:open_tensorrt_rtx", "cuda"),
    "tensorrt": Entry(f"{_TENSORRT}:open_tensorrt", "cuda"),
    "onnxruntime-cuda": Entry(f"{_ONNX_RUNTIME}:open_cuda", "cuda", fuses=True),
    "onnxruntime-tensorrt": Entry(f"{_ONNX_RUNTIME}:open_tensorrt", "cuda", automatic=False),
    "onnxruntime-tensorrt-rtx": Entry(
        f"{_ONNX_RUNTIME}:open_tensorrt_rtx", "cuda", automatic=False
    ),
    "onnxruntime": Entry(f"{_ONNX_RUNTIME}:open_cpu", "cpu"),
}
"""The backends; of the automatic ones that serve a device the first that can be opened there is taken."""


def register(name: str, opener: str, serves: Literal["cpu", "cuda"]) -> None:
    """Makes ENGINES of a child process know a backend as its parent does; one that it knows so stays as it is."""
    known = ENGINES.get(name)
    if known is None or known.opener != opener:
        ENGINES[name] = Entry(opener, serves)


def opener(name: str) -> Opener:
    """The function behind a backend's name, imported now; UsageError where there is none."""
    if name not in ENGINES:
        raise UsageError(f"unknown backend {name!r}; choose from {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].opener.partition(":")
    found: Opener = getattr(import_module(module), attribute)
    return found
