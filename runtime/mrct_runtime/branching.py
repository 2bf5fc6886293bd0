"""Samples of a slice that share the first part of their way: one image goes through the network until they part.

Parting at a state x_t of an exact reverse process leaves a pixel N(m, s^2) the deviation s sigma / sqrt(s^2 + sigma^2)
around its trunk, with sigma = std / alpha at t: what the shared part decided is the same in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.engines import Engine
from mrct_runtime.noise import Noise
from mrct_runtime.process import Process
from mrct_runtime.samplers import Sampler

Keys: TypeAlias = Sequence[tuple[int, int]]


class Branching:
    """`denoise` and `noise` for a sampler of one slice's samples that are one until time `at`.

    The noise that is drawn once the network has met a time at or below `at` has a row for every sample, and arithmetic
    between one row and many makes many, so a sampler does not know of it. The trunk has the noise of the slice's
    sample 0, whatever the batch: sample 0 is the same with and without branches.
    """

    def __init__(
        self,
        engine: Engine,
        image: Array,
        keys: Keys,
        noise_of: Callable[[Keys, int], Noise],
        at: float,
        batch: int,
    ) -> None:
        self._engine, self._image, self._batch = engine, image, batch
        self._keys, self._noise_of, self._at = keys, noise_of, at
        self._noise, self._parted = noise_of([(keys[0][0], 0)], 0), False
        self._t: float = math.inf
        self._bound: Denoiser | None = None
        self._rows = 0
        self.images = 0
        """Images that went through the network."""

    def denoise(self, x: Array, t: Time) -> Array:
        """eps(x, t), of one row before the samples part, afterwards of at most `batch` rows at once."""
        self._t = float(t)
        batches = -(-len(x) // self._batch)
        at_once = -(-len(x) // batches)
        eps = self._evaluate(x[:at_once], t)
        if batches == 1:
            return eps
        together: Array = self._engine.device.xp.empty(x.shape, eps.dtype)
        together[:at_once] = eps
        for k in range(1, batches):
            # an engine keeps its buffers for batches of one size, so the last one may meet a row again
            start = min(k * at_once, len(x) - at_once)
            together[start : start + at_once] = self._evaluate(x[start : start + at_once], t)
        return together

    def _evaluate(self, x: Array, t: Time) -> Array:
        self.images += len(x)
        if self._bound is None or len(x) != self._rows:
            self._rows = len(x)
            self._bound = self._engine.bind(self._image.repeat(len(x), axis=0))
        return self._bound(x, t)

    def noise(self) -> Array:
        """The next z, of one row before the samples part."""
        if not self._parted and self._t <= self._at:
            self._noise, self._parted = self._noise_of(self._keys, self._noise.draws), True
        return self._noise()


def parts(sampler: Sampler, process: Process, at: float) -> bool:
    """Whether the sampler draws noise after it has met a time at or below `at`: found on one pixel, without a network."""
    met, drawn_after = math.inf, []

    def denoise(x: Array, t: Time) -> Array:
        nonlocal met
        met = float(np.min(t))
        return np.ones_like(x)

    def noise() -> Array:
        drawn_after.append(met)
        return np.zeros((1, 1, 1, 1), np.float32)

    sampler(denoise, process, np.zeros((1, 1, 1, 1), np.float32), noise)
    return any(t <= at for t in drawn_after)


def kept_deviation(process: Process, at: float, deviation: float) -> float:
    """The fraction of its deviation that a Gaussian pixel keeps where its samples part at time `at`."""
    sigma = process.std(at) / process.alpha(at)
    return sigma / math.hypot(deviation, sigma)
