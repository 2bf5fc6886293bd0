"""What the machine can do at best: a large matrix product, and a copy in memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from mrct_runtime.bench.clock import Clock, CudaClock, HostClock
from mrct_runtime.bench.gpu_memory import taken
from mrct_runtime.bench.stand import Stand

_ORDER: Final = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices: large enough that the product is limited by arithmetic."""
_COPIED: Final = 1 << 28
"""Bytes of the array that is copied: more than any cache."""


class _OnDevice:
    """Arrays of one device and its clock."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.kind = device.partition(":")[0]
        self.clock: Clock
        if self.kind == "cuda":
            cupy = import_module("cupy")
            self.xp, self.clock = cupy, CudaClock(0, int(device.partition(":")[2] or 0))
        else:
            self.xp, self.clock = import_module("numpy"), HostClock()

    def device_memory(self) -> int | None:
        """Bytes that are taken on the GPU."""
        return taken(self.device)


class MatrixProduct(_OnDevice):
    """C = A B of square matrices, by NumPy's or CuPy's library; products of halves are summed in fp32."""

    def __init__(self, device: str, precision: str) -> None:
        super().__init__(device)
        self._type = {"fp32": "float32", "fp16": "float16"}[precision]
        order = _ORDER[self.kind]
        self.facts = {"device": device, "precision": precision, "flop": 2 * order**3}

    def case(self, batch: int) -> Callable[[], object]:
        """One product, whatever the batch."""
        del batch
        order = _ORDER[self.kind]
        a, b = (self.xp.full((order, order), value, self._type) for value in (0.5, 0.25))
        out = self.xp.empty_like(a)
        return lambda: self.xp.matmul(a, b, out=out)


class Copy(_OnDevice):
    """A copy of a large array: every byte is read and written once."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.facts = {"device": device, "precision": "", "bytes": 2 * _COPIED}

    def case(self, batch: int) -> Callable[[], object]:
        """One copy, whatever the batch."""
        del batch
        source = self.xp.ones(_COPIED // 4, "float32")
        target = self.xp.empty_like(source)
        return lambda: self.xp.copyto(target, source)


def stand(asked: dict[str, Any]) -> Stand:
    """The stand of a matrix product where a precision is asked for, of a copy elsewhere."""
    device, precision = asked["device"], asked.get("precision")
    return Stand(lambda: MatrixProduct(device, precision) if precision else Copy(device))
