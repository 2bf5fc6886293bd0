"""A whole slice: all its Monte Carlo samples, from the condition to mean and deviation, and the network's part of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.bench.clock import Clock
from mrct_runtime.bench.engine_subject import clock_of, open_asked
from mrct_runtime.bench.gpu_memory import taken
from mrct_runtime.bench.stand import peak_rss
from mrct_runtime.bundle import Bundle
from mrct_runtime.device import Device
from mrct_runtime.engines import Backend, Engine
from mrct_runtime.samplers import sampler
from mrct_runtime.synthesis import Sampling, synthesize


class Stopwatch:
    """Marks the clock around every evaluation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: list[tuple[Any, Any]] = []

    def __call__(self, denoise: Denoiser) -> Denoiser:
        """The same denoiser, timed."""

        def eps(x: Array, t: Time) -> Array:
            first = self._clock.mark()
            found = denoise(x, t)
            self._marks.append((first, self._clock.mark()))
            return found

        return eps

    @property
    def seconds(self) -> float:
        """The time inside the network, once all is finished."""
        return sum(self._clock.between(*pair) for pair in self._marks)

    @property
    def evaluations(self) -> int:
        """How often a batch was evaluated."""
        return len(self._marks)


class CountedCopies:
    """A device that counts the arrays which are asked back to the host."""

    def __init__(self, device: Device) -> None:
        self._device, self.copies = device, 0
        self.name, self.model = device.name, device.model
        self.stream, self.xp = device.stream, device.xp
        self.pointer, self.normals = device.pointer, device.normals
        self.free_memory, self.trim, self.running = device.free_memory, device.trim, device.running

    def to_host(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """The array in host memory."""
        self.copies += 1
        return self._device.to_host(array)


@dataclass(frozen=True, eq=False)
class WatchedEngine:
    """An engine with a stopwatch around its network and a counter of the way back to the host."""

    engine: Engine
    watch: Stopwatch
    device: CountedCopies

    @property
    def backend(self) -> Backend:
        """That of the engine inside."""
        return self.engine.backend

    @property
    def max_batch(self) -> int:
        """That of the engine inside."""
        return self.engine.max_batch

    def bind(self, cond: Array) -> Denoiser:
        """The inner engine's eps(x, t), timed."""
        return self.watch(self.engine.bind(cond))

    def close(self) -> None:
        """Closes the inner engine."""
        self.engine.close()


class SliceStand:
    """An engine that samples one slice of noise-like condition after another."""

    def __init__(self, asked: dict[str, Any]) -> None:
        started = time.perf_counter()
        self._engine = open_asked(asked)
        self._opened = time.perf_counter() - started
        bundle = Bundle.load(asked["bundle"])
        self._process = bundle.process
        size = asked["size"]
        self._cond = np.random.default_rng(0).random((1, size, size))
        self._sampling = Sampling(
            sampler(asked["sampler"], asked["options"]),
            mc=asked["mc"],
            batch=asked["batch"],
            prior_mean=bundle.manifest.prior_mean,
        )

    def sample(self) -> dict[str, Any]:
        """Seconds of a slice, seconds of its network, evaluations of a batch, copies to the host, and memory in bytes."""
        device = self._engine.device
        clock = clock_of(device)
        watch, counted = Stopwatch(clock), CountedCopies(device)
        clock.finish()
        started = time.perf_counter()
        moments = synthesize(
            WatchedEngine(self._engine, watch, counted), self._process, self._cond, self._sampling
        )
        clock.finish()
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "network_seconds": watch.seconds,
            "batches": watch.evaluations,
            "evaluations": moments.evaluations,
            "batch": moments.batch,
            "copies_to_host": counted.copies,
            "open_seconds": self._opened,
            "peak_rss": peak_rss(),
            "device_memory": taken(device.name),
            "pool": pool(device.xp),
        }


def pool(xp: ModuleType) -> int | None:
    """Bytes that CuPy's pool holds; None on the host."""
    if xp is np:
        return None
    total: int = xp.get_default_memory_pool().total_bytes()
    return total
