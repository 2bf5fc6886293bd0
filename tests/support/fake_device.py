"""A GPU that is none: CuPy's arrays as NumPy computes them, on a device that counts and refuses what a loop must not do.

The module is the device's `xp`. Arrays take what CuPy's take and give what NumPy's give, bit for bit. TypeError where
CuPy raises it (mixing with arrays of the host, implicit conversion), and also where CuPy would quietly wait for the
GPU: bool(), float(), int(), item(), tolist(), elements one by one. RuntimeError for work outside `running()`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from mrct_runtime.noise import host_normals

float32, float64 = np.float32, np.float64

_running: list[FakeDevice] = []


@dataclass
class Tally:
    """What a device was asked for: copies to and from it, waits, kernels, arrays taken, bytes read and written."""

    uploads: int = 0
    downloads: int = 0
    waits: int = 0
    launches: int = 0
    arrays: int = 0
    traffic: int = 0

    def since(self, earlier: Tally) -> Tally:
        return Tally(**{name: value - getattr(earlier, name) for name, value in vars(self).items()})


@dataclass
class FakeDevice:
    """A device whose stream is no address; `trims` counts how often memory was given back."""

    name: str = "cuda:0"
    stream: int = 1
    tally: Tally = field(default_factory=Tally)
    trims: int = 0
    model: str = "A GPU"

    @property
    def xp(self) -> ModuleType:
        return sys.modules[__name__]

    @contextmanager
    def running(self) -> Iterator[None]:
        _running.append(self)
        try:
            yield
        finally:
            _running.pop()

    def now(self) -> Tally:
        return replace(self.tally)

    def pointer(self, array: FakeArray) -> int:
        return array.data.ptr

    def normals(
        self, key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
    ) -> Callable[[int], FakeArray]:
        drawn = host_normals(key, rows, pixels)
        self.tally.uploads += 1
        return lambda draw: _launched(drawn(draw))

    def to_host(self, array: FakeArray) -> np.ndarray:
        return array.get()

    def free_memory(self) -> int:
        return 1 << 30

    def trim(self) -> None:
        self.trims += 1


@dataclass
class CapturingDevice(FakeDevice):
    """One whose work can be captured, and which counts captures and replays; `refuses` is raised by a capture."""

    capability: str = "8.9"
    captures: int = 0
    replays: int = 0
    refuses: Exception | None = None

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        before = self.now()
        function()
        function()
        assert self.now() == before, (
            "captured work takes no memory, copies nothing and waits for nothing"
        )
        if self.refuses is not None:
            raise self.refuses
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            function()

        return replay


class FakeArray(NDArrayOperatorsMixin):
    """An array on the running device."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    shape = property(lambda self: self._values.shape)
    ndim = property(lambda self: self._values.ndim)
    size = property(lambda self: self._values.size)
    dtype = property(lambda self: self._values.dtype)
    nbytes = property(lambda self: self._values.nbytes)
    flags = property(lambda self: self._values.flags)

    @property
    def data(self) -> Any:
        class Memory:
            ptr = self._values.ctypes.data

        return Memory

    def get(self) -> np.ndarray:
        tally = _device().tally
        tally.downloads += 1
        tally.waits += 1
        return self._values.copy()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        assert method == "__call__"
        values = [_operand(value) for value in inputs]
        if out is None:
            return _launched(ufunc(*values, **options), *values)
        (target,) = out
        return _written(target, ufunc(*values, out=target._values, **options), *values)

    def __array__(self, *_args, **_options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use .get()")

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[FakeArray]:
        if self.ndim < 2:
            raise _waits("elements one by one")
        return (FakeArray(part) for part in self._values)

    def __getitem__(self, index) -> FakeArray:
        """Basic indexing, which gives a view."""
        parts = index if isinstance(index, tuple) else (index,)
        if not all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
            raise TypeError(f"an index of {index!r} would copy")
        return FakeArray(np.asarray(self._values[index]))

    def __setitem__(self, index, value) -> None:
        target = self[index]
        target._values[...] = _operand(value)
        _written(target, target._values, _operand(value))

    def fill(self, value: float) -> None:
        if not isinstance(value, float | int):
            raise TypeError("fill takes a number of the host")
        self[...] = value

    def repeat(self, count: int, axis: int) -> FakeArray:
        return _launched(self._values.repeat(count, axis), self._values)

    def reshape(self, *shape: int) -> FakeArray:
        return FakeArray(self._values.reshape(*shape))

    def astype(self, dtype) -> FakeArray:
        return _launched(self._values.astype(dtype), self._values)

    def copy(self) -> FakeArray:
        return _launched(self._values.copy(), self._values)

    def clip(self, min=None, max=None) -> FakeArray:  # noqa: A002 - NumPy's own names
        return _launched(self._values.clip(_operand(min), _operand(max)), self._values)

    def mean(self, axis) -> FakeArray:
        return _launched(self._values.mean(axis=axis), self._values)

    def all(self, axis) -> FakeArray:
        return _launched(self._values.all(axis=axis), self._values)

    def __bool__(self):
        raise _waits("bool()")

    def __float__(self):
        raise _waits("float()")

    def __int__(self):
        raise _waits("int()")

    def __index__(self):
        raise _waits("an index")

    def item(self, *_args):
        raise _waits("item()")

    def tolist(self):
        raise _waits("tolist()")


FakeArray.__module__ = __name__


def asarray(values: Any, dtype: Any = None) -> FakeArray:
    """A copy of the host's values on the device; an array there as it is."""
    if isinstance(values, FakeArray):
        return values if dtype in {None, values.dtype} else values.astype(dtype)
    device = _device()
    device.tally.uploads += 1
    device.tally.arrays += 1
    return FakeArray(np.array(values, dtype))


def empty(shape: Any, dtype: Any = float64) -> FakeArray:
    _device().tally.arrays += 1
    return FakeArray(np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 85, dtype))


def zeros(shape: Any, dtype: Any = float64) -> FakeArray:
    return _launched(np.zeros(shape, dtype))


def copyto(target: FakeArray, values: FakeArray | float, casting: str = "same_kind") -> None:
    np.copyto(target._values, _operand(values), casting=casting)
    _written(target, target._values, _operand(values))


def isfinite(x: FakeArray) -> FakeArray:
    return _launched(np.isfinite(_on_device(x)), x._values)


def concatenate(arrays: Sequence[FakeArray]) -> FakeArray:
    parts = [_on_device(part) for part in arrays]
    return _launched(np.concatenate(parts), *parts)


def maximum(a: FakeArray, b: FakeArray | float) -> FakeArray:
    return _launched(np.maximum(_on_device(a), _operand(b)), a._values, _operand(b))


def where(mask: FakeArray, a: FakeArray, b: FakeArray) -> FakeArray:
    parts = [_on_device(part) for part in (mask, a, b)]
    return _launched(np.where(*parts), *parts)


def _device() -> FakeDevice:
    if not _running:
        raise RuntimeError("work outside device.running() would go into CUDA's default stream")
    return _running[-1]


def _operand(value: Any) -> Any:
    """What a kernel takes: arrays of the device, and numbers."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}: an array of the host meets the device's")
    return value._values if isinstance(value, FakeArray) else value


def _on_device(value: Any) -> np.ndarray:
    if not isinstance(value, FakeArray):
        raise TypeError(f"{type(value)} is no array of the device")
    return value._values


def _launched(result: Any, *sources: Any) -> FakeArray:
    """A new array, made by one kernel."""
    _device().tally.arrays += 1
    return _written(FakeArray(np.asarray(result)), result, *sources)


def _written(target: FakeArray, result: Any, *sources: Any) -> FakeArray:
    tally = _device().tally
    tally.launches += 1
    tally.traffic += sum(getattr(part, "nbytes", 0) for part in (result, *sources))
    return target


def _waits(what: str) -> TypeError:
    return TypeError(f"{what} of an array on the device waits for it")
