"""The samples of a case, drawn and kept: metrics of single samples need each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array
from mrct_runtime.engines import Engine
from mrct_runtime.errors import MrctError
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.synthesis import Moments, Progress, synthesize


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a contestant makes of a case: for each part its samples float32 [n, S, N, N] and their moments [S, N, N].

    All in units of the network, not clipped. `seconds` are those of sampling alone.
    """

    samples: tuple[NDArray[np.float32], ...]
    moments: tuple[Moments, ...]
    seconds: float

    @property
    def n(self) -> int:
        """Samples a slice."""
        return len(self.samples[0])

    @property
    def evaluations(self) -> int:
        """Those of all samples together."""
        return sum(moments.evaluations for moments in self.moments)

    @property
    def means(self) -> list[NDArray[Any]]:
        """The averaged image of every part."""
        return [moments.mean for moments in self.moments]

    def sample(self, k: int) -> list[NDArray[np.float32]]:
        """The k-th sample of every part."""
        return [samples[k] for samples in self.samples]


def draw(
    contestant: Contestant,
    engine: Engine,
    case: Case,
    progress: Callable[[Progress], None] | None = None,
) -> Drawn:
    """The samples of every part of a case; an error names contestant and subject."""
    started = time.perf_counter()
    try:
        parts = [_draw(contestant, engine, part, progress) for part in case.parts]
    except MrctError as error:
        raise type(error)(f"{case.name}, {contestant.label}: {error}") from error
    seconds = time.perf_counter() - started
    return Drawn(tuple(s for s, _ in parts), tuple(m for _, m in parts), seconds)


def _draw(
    contestant: Contestant,
    engine: Engine,
    part: Part,
    progress: Callable[[Progress], None] | None,
) -> tuple[NDArray[np.float32], Moments]:
    sampling = contestant.sampling(part.series)
    condition = part.slices.mr
    kept = np.empty((sampling.mc, *condition.shape), np.float32)
    moments = synthesize(
        engine,
        contestant.bundle.process,
        condition,
        sampling,
        progress,
        slices=part.places,
        samples=partial(_keep, kept),
    )
    return kept, moments


def _keep(kept: NDArray[np.float32], s: int, k: int, sample: Array) -> None:
    kept[k, s] = sample
