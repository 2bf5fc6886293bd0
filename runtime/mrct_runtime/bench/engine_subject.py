"""A backend's engine as a subject: one evaluation of a bundle's network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mrct_runtime.bench.clock import Clock, CudaClock, HostClock
from mrct_runtime.bench.gpu_memory import taken
from mrct_runtime.bench.stand import Stand
from mrct_runtime.bundle import Bundle
from mrct_runtime.device import Device
from mrct_runtime.engines import Engine, register
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import EngineError, MrctError

_TIME = 0.5


class EngineSubject:
    """An engine, timed on images of size x size pixels of noise."""

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine, self._size = engine, size
        self.clock = clock_of(engine.device)

    @property
    def facts(self) -> dict[str, Any]:
        """Where and how exactly it computes."""
        backend = self._engine.backend
        return {
            "device": backend.device,
            "precision": backend.precision,
            "threads": backend.threads,
            "weights": "the bundle's",
        }

    def case(self, batch: int) -> Callable[[], object]:
        """One evaluation of so many images, the condition bound."""
        if batch > self._engine.max_batch:
            raise EngineError(f"takes {self._engine.max_batch} images at the most")
        rng, device = np.random.default_rng(0), self._engine.device
        shape = (batch, 1, self._size, self._size)
        with device.running():
            x, y = (device.xp.asarray(rng.random(shape, np.float32)) for _ in range(2))
            denoise = self._engine.bind(y)

        def evaluate() -> object:
            with device.running():
                return denoise(x, _TIME)

        return evaluate

    def device_memory(self) -> int | None:
        """Bytes that are taken on the engine's GPU."""
        return taken(self._engine.device.name)


def stand(asked: dict[str, Any]) -> Stand:
    """The stand of the engine that is asked for by bundle, backend, its entry, precision, device, threads and size."""
    return Stand(
        lambda: EngineSubject(open_asked(asked), asked["size"]),
        lambda: _taken_before(asked["device"]),
    )


def open_asked(asked: dict[str, Any]) -> Engine:
    """The engine that is asked for, its backend registered here as it is in the parent; it has passed the self-test."""
    register(asked["backend"], asked["opener"], asked["serves"])
    target = Target(
        asked["device"], asked["backend"], asked["precision"], asked["threads"], asked["batch"]
    )
    return Bundle.load(asked["bundle"]).open_engine(target)


def clock_of(device: Device) -> Clock:
    """Events in the device's stream on a GPU, the host's clock elsewhere."""
    kind, _, number = device.name.partition(":")
    return CudaClock(device.stream, int(number or 0)) if kind == "cuda" else HostClock()


def _taken_before(device: str) -> int | None:
    """Bytes that are taken before the engine is opened; None where the GPU cannot be asked, which opening will tell."""
    try:
        return taken(device)
    except (ImportError, MrctError, RuntimeError):
        return None
