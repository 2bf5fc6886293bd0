"""Where arrays live: the host, or a GPU behind the same few operations.

A sampler computes with operators alone; what it cannot say with them (noise, pointers, the way back to the host) is
the device's. `Cuda` in cuda.py is the GPU's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.machine import processor
from mrct_runtime.noise import host_normals


class Device(Protocol):
    """A place for arrays, with one queue of work: what was asked for first is done first."""

    @property
    def name(self) -> str:
        """What --device calls it: cpu, cuda:0."""
        ...

    @property
    def model(self) -> str:
        """What the processor or the GPU calls itself."""
        ...

    @property
    def xp(self) -> ModuleType:
        """The array module, numpy or cupy, of everything that goes in and out of an engine there."""
        ...

    @property
    def stream(self) -> int:
        """The address of the CUDA stream in which all work is queued; 0 on the host."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """Inside, what this thread asks of arrays is queued in the stream; outside, nothing is to be asked of them."""
        ...

    def pointer(self, array: Array) -> int:
        """The address of the array's first byte."""
        ...

    def normals(
        self, key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
    ) -> Callable[[int], Array]:
        """The noise of these (slice, sample) rows, as in noise.py; nothing is copied when it is drawn."""
        ...

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in host memory, when the work before it is done."""
        ...

    def free_memory(self) -> int | None:
        """Bytes that can still be taken there; None where that is not known."""
        ...

    def trim(self) -> None:
        """Gives memory back that no array uses but that is kept for later ones."""
        ...


@dataclass(frozen=True)
class Host:
    """The processor and its memory."""

    name: str = "cpu"
    stream: int = 0

    @property
    def model(self) -> str:
        """The processor's own name."""
        return processor()

    @property
    def xp(self) -> ModuleType:
        """numpy."""
        return np

    def running(self) -> AbstractContextManager[None]:
        """Nothing to do: what is asked of NumPy is done at once."""
        return nullcontext()

    def pointer(self, array: Array) -> int:
        """The address of the array's first byte."""
        address: int = array.ctypes.data
        return address

    def normals(
        self, key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
    ) -> Callable[[int], Array]:
        """The noise of these rows, made by NumPy."""
        return host_normals(key, rows, pixels)

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array as it is."""
        return array

    def free_memory(self) -> int | None:
        """Bytes of memory that is free now."""
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def trim(self) -> None:
        """Nothing to do: NumPy keeps nothing."""


HOST = Host()


def number(name: str) -> int:
    """N of cuda:N; 0 of cuda and cpu."""
    return int(name.partition(":")[2] or 0)
