"""Our samplers beside a diffusers scheduler: the same network, levels and noise, and every state of each that it saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mrct_runtime.arrays import Array, Denoiser
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.noise import Noise
from mrct_runtime.process import DDPM, Process
from mrct_runtime.samplers import Sampler

SHAPE = (2, 1, 16, 16)
ROWS = [(0, 0), (0, 1)]


def fresh_noise() -> Noise:
    return Noise(5, "diffusers", ROWS, SHAPE[2:])


def network(process: Process) -> Denoiser:
    engine = Analytic(process, deviation=lambda y: np.full_like(y, 0.2))
    return engine.bind(np.full(SHAPE, 0.4))


def ours(sampler: Sampler, process: Process) -> list[Array]:
    """x / alpha at every evaluation, and the sample."""
    eps, noise = network(process), fresh_noise()
    states: list[Array] = []

    def recording(x: Array, t: Any) -> Array:
        states.append(np.array(x) / process.alpha(t))
        return eps(x, t)

    found = sampler(recording, process, process.std(1.0) * noise(), noise)
    return [*states, found]


def theirs(
    scheduler: Any, levels: list[float], step: Callable[[Any, Array, Array, Array], Array]
) -> list[Array]:
    """The same of a DDPM, by `step(t, eps, x, z)` of a scheduler whose sigmas are ours, [K + 1] with 0 at the end."""
    process, noise = DDPM(), fresh_noise()
    eps = network(process)
    x = process.std(1.0) * noise()
    states = []
    for k, t in enumerate(scheduler.timesteps):
        alpha = 1 / math.hypot(1.0, levels[k])
        states.append(x / alpha)
        last = levels[k + 1] == 0
        z = np.zeros(SHAPE) if last else noise()
        x = step(t, eps(x, process.time(levels[k])), x, z)
    return [*states, x]


# diffusers 0.42 calls np.array on tensors as NumPy 2 no longer likes
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float64))
