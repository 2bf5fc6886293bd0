"""Clocks: the host's, and events in a CUDA stream, which take the device's time and make the host wait for nothing."""

from __future__ import annotations

import time
from typing import Any, Protocol


class Clock(Protocol):
    """Marks in a queue of work, and the time between two of them once the work is done."""

    def mark(self) -> Any:
        """This place in the queue."""
        ...

    def finish(self) -> None:
        """Wait for everything that is queued."""
        ...

    def between(self, first: Any, second: Any) -> float:
        """Seconds from one mark to another, after `finish`."""
        ...


class HostClock:
    """The time at which the host passes a mark."""

    @staticmethod
    def mark() -> float:
        """Now, in seconds."""
        return time.perf_counter()

    @staticmethod
    def finish() -> None:
        """Nothing is queued: the host has done it."""

    @staticmethod
    def between(first: float, second: float) -> float:
        """Seconds from one mark to another."""
        return second - first


class CudaClock:
    """Events in the CUDA stream of this address, on the GPU of this number, through CuPy."""

    def __init__(self, stream: int, gpu: int = 0) -> None:
        import cupy

        self._cuda = cupy.cuda
        self._cuda.Device(gpu).use()
        self._stream = self._cuda.ExternalStream(stream) if stream else self._cuda.Stream.null

    def mark(self) -> Any:
        """An event in the stream."""
        event = self._cuda.Event()
        event.record(self._stream)
        return event

    def finish(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def between(self, first: Any, second: Any) -> float:
        """Seconds that the device took from one event to another."""
        milliseconds: float = self._cuda.get_elapsed_time(first, second)
        return milliseconds / 1e3
