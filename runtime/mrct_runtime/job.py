"""A study that is read and prepared, and its sampling: everything between the first network evaluation and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, Time
from mrct_runtime.behind import Behind
from mrct_runtime.branching import kept_deviation
from mrct_runtime.bundle import Bundle
from mrct_runtime.counting import Counting
from mrct_runtime.denoisers import observed
from mrct_runtime.departures import Given
from mrct_runtime.dicom.reading import Series
from mrct_runtime.engines import Engine
from mrct_runtime.engines.target import Target
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.errors import NumericError
from mrct_runtime.finished import Batch, Finished, Past, Receiver
from mrct_runtime.identity import identity
from mrct_runtime.journal import Journal
from mrct_runtime.placing import Placing
from mrct_runtime.process import Direct
from mrct_runtime.result import Counters, Model, Result
from mrct_runtime.scratch import IN_MEMORY, Scratch, let_go
from mrct_runtime.settings import Settings, default_batch
from mrct_runtime.synthesis import Guess, Progress, Sampling, Work, stream
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume
from mrct_runtime.warm_start import Started

_WARN_OUTSIDE, _FAIL_OUTSIDE = 0.001, 0.05


@dataclass(frozen=True, eq=False)
class Job:
    """A study read and prepared: all that is known before the first network evaluation.

    `condition` [S, N, N] is the MR in [0, 1] on the model grid, `body` the mask on the same grid.
    """

    bundle: Bundle
    settings: Settings
    sampling: Sampling
    source: Series
    condition: Volume
    body: NDArray[np.bool_]
    given: Given
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    scratch: Scratch = IN_MEMORY
    """Where its volumes lie, and those of its result."""

    @property
    def evaluations(self) -> int:
        """Images that go through the network; the most of them where the sampler adapts."""
        return self.sampling.sampler.evaluations * self.sampling.mc * len(self.condition.array)

    @property
    def journal_bytes(self) -> int:
        """What the journal of a whole run takes: mean and deviation in float64."""
        return 16 * self.condition.array.size

    @property
    def result_bytes(self) -> int:
        """What mean and deviation on the MR's grid take in the scratch."""
        return 2 * self.scratch.bytes_on_disk(self.source.volume.grid.shape, np.float32)

    @property
    def uncertainty(self) -> Uncertainty:
        """Whether and how the deviation is recalibrated."""
        return self.settings.uncertainty(self.bundle)

    @property
    def started(self) -> Started | None:
        """Where samples start, instead of pure noise."""
        return self.settings.started(self.bundle)

    def open_engine(self, tell: Callable[[str], None] = lambda _: None) -> Engine:
        """The bundle's network on the chosen device, after its self-test; `tell` as of `Bundle.open_engine`."""
        return self.bundle.open_engine(self._target, tell)

    def run(
        self,
        engine: Engine,
        progress: Callable[[Progress], None] | None = None,
        observe: Callable[[Array, Time], None] = lambda _x, _t: None,
        journal: Journal | None = None,
    ) -> Result:
        """The result on the MR's own grid; `progress` is told of batches, `observe` of states. The engine stays open.

        `journal` keeps slices as they are finished, and has those that are not to be drawn again.
        """
        started = time.perf_counter()
        watched = WrappedEngine(engine, lambda denoise: observed(denoise, observe))
        process, condition = self.settings.process(self.bundle), self.condition
        told: list[str] = []
        placing = Placing(
            Volume(self.body, condition.grid),
            self.source.volume,
            self.bundle.window,
            self.uncertainty,
            self.scratch,
        )
        counting = Counting(self.body)
        plan = self._plan(engine)

        def take(finished: Finished) -> None:
            counting.count(finished)
            placing.place(finished)
            if journal is not None:
                journal.keep(finished)
            # what an earlier run left is mapped, and the condition of finished slices is looked at no more
            let_go(finished.mean, finished.std, condition.array)

        def drawn(batch: Batch) -> None:
            if journal is not None:
                journal.drawn(batch)

        with self._guess(engine, told.append) as guess, Behind() as behind:
            work = stream(
                watched,
                process,
                condition.array,
                replace(plan, guess=guess),
                Receiver(
                    lambda finished: behind(partial(take, finished)),
                    lambda batch: behind(partial(drawn, batch)),
                    Past() if journal is None else journal.past,
                ),
                progress,
                body=self.body,
            )
            sampled = time.perf_counter()
        counters = self._counters(counting, work)
        seconds = {
            **self.seconds,
            "sampling": sampled - started,
            "resampling": time.perf_counter() - sampled,
        }
        return Result(
            source=self.source,
            given=self.given,
            mean_hu=placing.mean_hu,
            std_hu=placing.std_hu,
            model=Model(self.bundle.manifest, self.bundle.sha256),
            backend=engine.backend,
            sampler=self.settings.sampler,
            sampling=plan,
            uncertainty=self.uncertainty,
            started=self.started,
            counters=counters,
            warnings=(
                *self.warnings,
                *(f"of the warm start's network: {line}" for line in told),
                *self._short_memory(engine, counters.batch),
                *self._unaudited(engine),
                *_complaints(counters),
                *self._unsure(counters),
                *self._doubts(),
            ),
            seconds=seconds,
            settings=self.settings.record(),
        )

    def journal(self, folder: Path, engine: Engine) -> Journal:
        """That of this job by this engine in the folder, with what an earlier run of the very same has left there."""
        return Journal.open(folder, identity(self, engine, self._plan(engine)))

    def _plan(self, engine: Engine) -> Sampling:
        return replace(self.sampling, batch=self._batch(engine))

    @property
    def _target(self) -> Target:
        return replace(self.settings.target, batch=self.sampling.batch)

    def _batch(self, engine: Engine) -> int:
        """Images at once: no more than suit a CPU where it serves in the place of a GPU."""
        batch = self.sampling.batch
        if self.settings.batch is not None or engine.device.name != "cpu":
            return batch
        return min(batch, default_batch(self.bundle.manifest.image.size, gpu=False))

    def _guess(
        self, engine: Engine, tell: Callable[[str], None]
    ) -> AbstractContextManager[Guess | None]:
        """What samples start around, while its network is loaded, by the backend of `engine`; None without a warm start."""
        warm = self.settings.warm_start
        if warm is None:
            return nullcontext()
        ran = engine.backend
        return warm.open(replace(self._target, device=ran.device, backend=ran.engine), tell)

    def _counters(self, counting: Counting, work: Work) -> Counters:
        """What happened inside the body; NumericError where too much of the mean left the HU window."""
        sampling = self.sampling
        independent = not (sampling.antithetic or sampling.branch_at is not None)
        counters = counting.counters(
            work, self.bundle.window.width, independent=independent and sampling.least > 1
        )
        if counters.outside > _FAIL_OUTSIDE:
            raise NumericError(
                f"{counters.outside:.1%} of the body lies outside the model's HU window, at most "
                f"{_FAIL_OUTSIDE:.0%} is accepted; the MR is unlike the model's training images, or "
                "the sampler needs more steps"
            )
        return counters

    def _short_memory(self, engine: Engine, batch: int) -> tuple[str, ...]:
        """What is to be told where fewer images went through the network at once than were to."""
        # more than the fewest samples need not have been asked for, and samples that part are of one slice
        slices = 1 if self.sampling.branch_at is not None else len(self.condition.array)
        rows = self.sampling.least * slices
        planned = min(self._batch(engine), engine.max_batch, rows)
        if batch >= planned:
            return ()
        complaint = (
            f"the memory of {engine.device.name} was too small for {planned} images at once, {batch} were sampled; "
            f"the noise is the same, --batch {batch} spares the attempt"
        )
        return (complaint,)

    def _unaudited(self, engine: Engine) -> tuple[str, ...]:
        """What is to be told where samples in half precision were not held against float32 at the export."""
        half, name = self.bundle.manifest.half, self.settings.sampler
        if engine.backend.precision != "fp16" or half is None or name in half.sampled:
            return ()
        complaint = (
            f"half precision of {self.bundle.manifest.name} was audited with {', '.join(half.sampled)}, not with {name}; "
            "--precision fp32 does without it"
        )
        return (complaint,)

    def _unsure(self, counters: Counters) -> tuple[str, ...]:
        """What is to be told where the most samples were not enough."""
        tolerance, errors = self.settings.mc_tolerance_hu, counters.standard_error_hu
        over = [error for error in errors or () if tolerance is not None and error > tolerance]
        if not over:
            return ()
        complaint = (
            f"{len(over)} of {len(counters.samples)} slices have all {self.sampling.mc} samples and a standard error of "
            f"their mean of up to {max(over):.3g} HU, above the {tolerance:g} asked for; raise the upper number of mc"
        )
        return (complaint,)

    def _doubts(self) -> tuple[str, ...]:
        """What is to be told about the uncertainty map."""
        if self.sampling.mc > 1:
            warning = self.uncertainty.warning
            return (*self._shared(), *(() if warning is None else (warning,)))
        direct = isinstance(self.bundle.process, Direct)
        cause = "a direct network has" if direct else "one sample has"
        return (f"{cause} no deviation: the uncertainty map is 0 everywhere and says nothing",)

    def _shared(self) -> tuple[str, ...]:
        """What samples that share a part of their way have lost."""
        at, window = self.sampling.branch_at, self.bundle.window
        if at is None:
            return ()
        wide = self.bundle.manifest.training.deviation
        kept = kept_deviation(self.bundle.process, at, wide)
        complaint = (
            f"the samples of a slice are one until t = {at:g}: the uncertainty map is low, by "
            f"{1 - kept:.0%} where a pixel could be anything in the training's CT ({wide * window.width:.0f} HU), by less where it is surer"
        )
        return (complaint,)


def _complaints(counters: Counters) -> tuple[str, ...]:
    if counters.outside <= _WARN_OUTSIDE:
        return ()
    complaint = (
        f"{counters.outside:.2%} of the body lies outside the model's HU window and was clamped; "
        "look at the pictures before using the result"
    )
    return (complaint,)
