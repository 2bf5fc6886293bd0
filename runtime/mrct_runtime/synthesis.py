"""Monte Carlo synthesis: slices x samples in batches, streaming moments out.

The batch crosses slices: rows are (slice, sample) in order, cut where the batch is full. Every row has its own noise,
so neither the batch size nor the order of slices shows in the result. Samples and the moments of unfinished slices stay
on the engine's device; a finished slice's mean and deviation come to the host and are handed over at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrct_runtime.arrays import Array, array_namespace
from mrct_runtime.drawing import Drawing
from mrct_runtime.engines import Engine
from mrct_runtime.errors import NumericError
from mrct_runtime.finished import Batch, Finished, Receiver
from mrct_runtime.moments import Running
from mrct_runtime.process import Process
from mrct_runtime.rows import Queue, Rows
from mrct_runtime.sampling import Sampling


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and deviation (ddof 1) over a slice's samples, float64 [S, H, W], and the evaluations of all samples together.

    `counts` [S] are the samples of each slice. An adaptive sampler's batch goes on until its last sample is done, so its
    evaluations depend on the batch.

    The deviation of few samples is low by the factor c4(n) (0.973 at n = 10); it is not corrected here. With one
    sample it is 0. `batch` is the most images that went through the network at once: fewer than asked for where memory was short.
    """

    mean: Array
    std: Array
    counts: Array
    evaluations: int
    batch: int


@dataclass(frozen=True)
class Work:
    """The evaluations of all samples together, and the most rows that were drawn at once."""

    evaluations: int
    batch: int


@dataclass(frozen=True)
class Progress:
    """Where a synthesis stands: slices finished of all, and rows (slice, sample) finished of all planned so far."""

    slices: int
    total_slices: int
    rows: int
    total_rows: int


def synthesize(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    progress: Callable[[Progress], None] | None = None,
    slices: Sequence[int] | None = None,
    samples: Callable[[int, int, Array], None] | None = None,
    body: Array | None = None,
) -> Moments:
    """Mean and deviation [S, H, W] of the samples of every slice of the condition [S, H, W]; the rest is as of `stream`."""
    mean, std, counts = np.empty(cond.shape), np.empty(cond.shape), np.zeros(len(cond), int)

    def keep(slice_: Finished) -> None:
        s = slice_.place
        mean[s], std[s], counts[s] = slice_.mean, slice_.std, slice_.count

    work = stream(engine, process, cond, sampling, Receiver(keep), progress, slices, samples, body)
    return Moments(mean, std, counts, work.evaluations, work.batch)


def stream(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    receiver: Receiver,
    progress: Callable[[Progress], None] | None = None,
    slices: Sequence[int] | None = None,
    samples: Callable[[int, int, Array], None] | None = None,
    body: Array | None = None,
) -> Work:
    """What it took to hand the moments of every slice of the condition [S, H, W] over, each as soon as it is finished.

    `slices` names each slice for the noise, where `cond` is a part or a permutation of a study; 0..S-1 otherwise.
    `samples` is handed every finished one, float64 [H, W] on the host, in units of the network and not clipped, with its
    places in `cond` and among the slice's samples; nothing else keeps it. `body` [S, H, W] is the mask over which
    `sampling.stopping` averages; everything where it is None. Where the device's memory is too small for a
    batch, it is halved, and the same rows are drawn with the same noise; DeviceMemoryError where one row is too much.
    NumericError names the slice and sample of a value that is not finite. Where the receiver has a past, this goes on with
    the batches that an uninterrupted run would draw, of the same rows: its images are the same to the last bit.

    Of a device, one batch is one way there and back: the condition goes up, whether all is finite comes down, and with it
    what is finished. In between nothing is copied and nobody waits, but for samplers that adapt their steps. A guess goes
    up with the condition.
    """
    sampling.check(process)
    drawing = Drawing(
        engine, process, cond, sampling, range(len(cond)) if slices is None else slices
    )
    queue = Queue(len(cond), sampling.least)
    tally = _Tally(engine, sampling, queue, body, receiver)
    account = _Account(lambda: Progress(tally.finished, len(cond), 0, queue.total), progress)
    most = min(sampling.batch, engine.max_batch)
    for batch in receiver.past.batches:
        if not tally.passed(batch):
            break
        account.add(batch)
        most = batch.most
    with engine.device.running():
        while queue.waiting:
            rows = queue.take(drawing.together(most))
            at_once = min(most, len(rows))
            drawn, images = drawing.draw_if_it_fits(rows, at_once)
            if drawn is None:
                # only now, when the arrays of the failed batch are gone
                engine.device.trim()
                queue.put_back(rows)
                most = at_once // 2
                continue
            _check_finite(engine, drawn, rows)
            for (s, k), sample in zip(rows, drawn, strict=True):
                if samples is not None:
                    samples(s, k, engine.device.to_host(sample).astype(np.float64))
                tally.add(s, k, sample)
            batch = Batch(account.batches, len(rows), at_once, most, images)
            receiver.drawn(batch)
            account.add(batch)
    return Work(account.evaluations, account.largest)


class _Account:
    """The batches so far, and what they took; `standing` is told after each, with the rows of all."""

    def __init__(
        self, standing: Callable[[], Progress], progress: Callable[[Progress], None] | None
    ) -> None:
        self._standing, self._progress = standing, progress
        self.batches = self.evaluations = self.largest = self._rows = 0

    def add(self, batch: Batch) -> None:
        """Takes one more batch in."""
        self.batches += 1
        self.evaluations += batch.images
        self.largest = max(self.largest, batch.at_once)
        self._rows += batch.rows
        if self._progress is not None:
            self._progress(replace(self._standing(), rows=self._rows))


class _Tally:
    """The moments of slices: on the device while samples are missing, then handed over on the host."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        queue: Queue,
        body: Array | None,
        receiver: Receiver,
    ) -> None:
        self._engine, self._sampling, self._queue = engine, sampling, queue
        self._body, self._receiver = body, receiver
        self._running: dict[int, Running] = {}
        self._planned: dict[int, tuple[int, ...]] = {}
        self._passed: set[int] = set()
        self.finished = 0

    def add(self, s: int, k: int, sample: Array) -> None:
        """Takes sample k of slice s in; asks for more where they are not enough."""
        if s in self._passed:
            self._pass(s, k)
            return
        running = self._running.setdefault(s, Running())
        running.add(sample)
        if not self._queue.complete(s, k):
            return
        std = self._engine.device.to_host(running.std)
        planned = (*self._planned.pop(s, ()), k + 1)
        wanted = self._wanted(std if self._body is None else std[self._body[s]], k + 1)
        if wanted > k + 1:
            self._planned[s] = planned
            self._queue.extend(s, wanted)
            return
        self._hand_over(Finished(s, self._engine.device.to_host(running.mean), std, planned))
        del self._running[s]

    def passed(self, batch: Batch) -> bool:
        """Whether all slices of a batch of the past are finished; its rows are then taken as drawn."""
        rows, finished = self._queue.take(batch.rows), self._receiver.past.finished
        if len(rows) < batch.rows or any(s not in finished for s, _ in rows):
            self._queue.put_back(rows)
            return False
        for s, k in rows:
            self._passed.add(s)
            self._pass(s, k)
        return True

    def _pass(self, s: int, k: int) -> None:
        """Takes sample k of a slice that is finished: its first samples are in its moments alone."""
        if not self._queue.complete(s, k):
            return
        finished = self._receiver.past.finished[s]
        more = [n for n in finished.planned if n > k + 1]
        if more:
            self._queue.extend(s, more[0])
        else:
            self._hand_over(finished)

    def _hand_over(self, finished: Finished) -> None:
        self._receiver.take(finished)
        self.finished += 1

    def _wanted(self, deviations: Array, n: int) -> int:
        """The samples that a slice needs whose pixels of the body have these deviations over its first n."""
        stopping = self._sampling.stopping
        if stopping is None or not deviations.size:
            return n
        return stopping.wanted(float(deviations.mean()), n, self._sampling.mc)


def _check_finite(engine: Engine, drawn: Array, rows: Rows) -> None:
    finite = engine.device.to_host(array_namespace(drawn).isfinite(drawn).all(axis=(1, 2)))
    for (s, k), sound in zip(rows, finite.tolist(), strict=True):
        if not sound:
            raise NumericError(
                f"sample {k} of slice {s} has values that are not finite; try the fp32 model or more steps"
            )
