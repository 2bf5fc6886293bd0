"""An engine around an engine: what is laid around every denoiser that it binds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.device import Device
from mrct_runtime.engines import Backend, Engine


@dataclass(frozen=True, eq=False)
class WrappedEngine:
    """The same engine, its denoisers passed through `wrap`: to watch them, to count, to take their time."""

    engine: Engine
    wrap: Callable[[Denoiser], Denoiser]

    @property
    def backend(self) -> Backend:
        """That of the engine inside."""
        return self.engine.backend

    @property
    def device(self) -> Device:
        """That of the engine inside."""
        return self.engine.device

    @property
    def max_batch(self) -> int:
        """That of the engine inside."""
        return self.engine.max_batch

    def bind(self, cond: Array) -> Denoiser:
        """The inner engine's eps(x, t), wrapped."""
        return self.wrap(self.engine.bind(cond))

    def close(self) -> None:
        """Closes the inner engine."""
        self.engine.close()
