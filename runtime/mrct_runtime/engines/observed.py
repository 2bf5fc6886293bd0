"""An engine around an engine, for progress and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.denoisers import observed
from mrct_runtime.engines import Engine


@dataclass(frozen=True, eq=False)
class ObservedEngine:
    """The same engine; `observe(x, t)` sees every state that is evaluated."""

    engine: Engine
    observe: Callable[[Array, Time], None]

    @property
    def xp(self) -> ModuleType:
        """That of the engine inside."""
        return self.engine.xp

    @property
    def max_batch(self) -> int:
        """That of the engine inside."""
        return self.engine.max_batch

    def bind(self, cond: Array) -> Denoiser:
        """The inner engine's eps(x, t), observed."""
        return observed(self.engine.bind(cond), self.observe)

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in host memory."""
        return self.engine.to_host(array)

    def close(self) -> None:
        """Closes the inner engine."""
        self.engine.close()
