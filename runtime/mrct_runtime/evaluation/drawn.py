"""The samples of a case, drawn and kept: metrics of single samples need each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array
from mrct_runtime.behind import Behind
from mrct_runtime.engines import Engine
from mrct_runtime.errors import MrctError
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.kept import Journals
from mrct_runtime.finished import Finished, Receiver
from mrct_runtime.journal import Journal
from mrct_runtime.synthesis import Moments, Progress, stream


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a contestant makes of a case: for each part its samples float32 [n, S, N, N] and their moments [S, N, N].

    All in units of the network, not clipped. `seconds` are those of sampling alone; what a run drew that was broken off
    before a slice was finished, and is drawn again, does not count.
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
    journals: Journals = lambda _: nullcontext(),
) -> Drawn:
    """The samples of every part of a case; an error names contestant and subject.

    `journals` keep the slices of each part, and have those that are not to be drawn again.
    """
    found = []
    try:
        for number, part in enumerate(case.parts):
            with journals(number) as journal:
                found.append(_draw(contestant, engine, part, progress, journal))
    except MrctError as error:
        raise type(error)(f"{case.name}, {contestant.label}: {error}") from error
    samples, moments, seconds = zip(*found, strict=True)
    return Drawn(samples, moments, sum(seconds))


def _draw(
    contestant: Contestant,
    engine: Engine,
    part: Part,
    progress: Callable[[Progress], None] | None,
    journal: Journal | None,
) -> tuple[NDArray[np.float32], Moments, float]:
    """The samples of a part, their moments, and the seconds that they took."""
    sampling = contestant.sampling(part.series)
    with Behind() as behind:
        taker = _Taker(sampling.mc, part.slices.mr.shape, journal, behind)
        work = stream(
            engine,
            contestant.bundle.process,
            part.slices.mr,
            sampling,
            taker.receiver,
            progress,
            slices=part.places,
            samples=taker.sample,
        )
        seconds = taker.seconds
    moments = Moments(taker.mean, taker.std, taker.counts, work.evaluations, work.batch)
    return taker.samples, moments, seconds


class _Taker:
    """Takes samples and slices as they come, and has a journal keep them behind."""

    def __init__(
        self, mc: int, shape: tuple[int, ...], journal: Journal | None, behind: Behind
    ) -> None:
        self.samples = np.empty((mc, *shape), np.float32)
        self.mean, self.std, self.counts = np.empty(shape), np.empty(shape), np.zeros(shape[0], int)
        self._journal, self._behind = journal, behind
        self._earlier, self._started = 0.0, time.perf_counter()

    @property
    def receiver(self) -> Receiver:
        """Who is handed what is finished."""
        journal, behind = self._journal, self._behind
        if journal is None:
            return Receiver(self._take)
        return Receiver(
            self._take, lambda batch: behind(partial(journal.drawn, batch)), journal.past
        )

    @property
    def seconds(self) -> float:
        """Those of this run, and of earlier ones until the last slice that they finished."""
        return self._earlier + time.perf_counter() - self._started

    def sample(self, s: int, k: int, sample: Array) -> None:
        """Takes sample k of slice s."""
        self.samples[k, s] = sample

    def _take(self, finished: Finished) -> None:
        s, journal = finished.place, self._journal
        self.mean[s], self.std[s], self.counts[s] = finished.mean, finished.std, finished.count
        if journal is None:
            return
        if finished is journal.past.finished.get(s):
            self.samples[:, s], seconds = journal.beside(s)
            self._earlier = max(self._earlier, float(seconds))
        else:
            beside = self.samples[:, s], np.array(self.seconds)
            self._behind(partial(journal.keep, finished, *beside))
