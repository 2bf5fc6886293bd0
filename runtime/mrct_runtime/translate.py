"""From a study to a result: read, prepare, sample, and back onto the MR's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, Time
from mrct_runtime.behind import Behind
from mrct_runtime.branching import kept_deviation
from mrct_runtime.bundle import Bundle
from mrct_runtime.counting import Counting
from mrct_runtime.denoisers import observed
from mrct_runtime.departures import Given, departed, departures, is_compared
from mrct_runtime.dicom.reading import Series
from mrct_runtime.engines import Engine
from mrct_runtime.engines.selection import check_device, expects_gpu
from mrct_runtime.engines.target import Target
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.finished import Batch, Finished, Past, Receiver
from mrct_runtime.identity import identity
from mrct_runtime.intensity import MrNormalisation, body_mask
from mrct_runtime.journal import Journal
from mrct_runtime.manifest import Image
from mrct_runtime.opening import opening
from mrct_runtime.placing import Placing
from mrct_runtime.process import Direct, Process
from mrct_runtime.result import Counters, Model, Result
from mrct_runtime.samplers import recipe, sampler, sampler_class
from mrct_runtime.samplers.checks import check_family, check_positive
from mrct_runtime.source import read_source
from mrct_runtime.stopping import Stopping
from mrct_runtime.synthesis import Guess, Progress, Sampling, Work, stream
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume, model_grid
from mrct_runtime.warm_start import Started, WarmStart

# Rows of a batch are chosen so that a UNet's widest layers stay near a gigabyte. On a CPU larger batches gain nothing, and
# lose where images are small and a few fit its caches: 56 of 96 x 96 take 1.16 times as long an image as ten.
_PIXELS_A_BATCH = 1 << 19
_IMAGES_A_BATCH = 10
# Ten images of 512 x 512: a GPU is filled, and engines of one shape are built for the ten samples of a slice.
_PIXELS_A_GPU_BATCH = 10 * 512**2
_WARN_LOST = 0.001
_WARN_OUTSIDE, _FAIL_OUTSIDE = 0.001, 0.05


@dataclass(frozen=True)
class Settings:
    """What is chosen for a run; what belongs to the model comes from its bundle.

    `options` are the sampler's own, over those of `recipe` (a published setting) or else of the bundle's preset.
    """

    sampler: str = "em"
    mc: int | tuple[int, int] | None = None
    """Samples a slice, or the fewest and the most of them; by default 10, and 1 of a direct network, which has no other."""
    seed: int = 0
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    target: Target = field(default_factory=Target)
    """Where the network runs; its batch is that of the sampling."""
    raw_uncertainty: bool = False
    """The deviation as it is, also where the bundle has a recalibration for it."""
    warm_start: WarmStart | None = None
    """Where samples start, instead of pure noise."""
    mc_tolerance_hu: float | None = None
    """Between the fewest and the most samples, the standard error of the mean in HU at which a slice has enough."""
    branch_at: float | None = None
    """The network time until which the samples of a slice are one."""
    antithetic: bool = False
    """Samples in pairs that start on either side of the prior's mean."""

    def process(self, bundle: Bundle) -> Process:
        """The bundle's, from the warm start on where there is one."""
        return bundle.process if self.warm_start is None else self.warm_start.process(bundle)

    def started(self, bundle: Bundle) -> Started | None:
        """Where samples start, instead of pure noise."""
        return None if self.warm_start is None else self.warm_start.record(bundle)

    def uncertainty(self, bundle: Bundle) -> Uncertainty:
        """Whether and how the deviation is recalibrated."""
        fitted, raw = bundle.manifest.uncertainty, self.raw_uncertainty
        if self.warm_start is not None:
            return Uncertainty.warm(fitted, self.sampler, raw=raw)
        return Uncertainty.of(fitted, self.sampler, self.sampling(bundle, ""), raw=raw)

    def sampling(self, bundle: Bundle, series: str) -> Sampling:
        """The settings resolved against a bundle; UsageError where its model does not fit the sampler."""
        check_family(sampler_class(self.sampler), bundle.process)
        base = (
            bundle.preset(self.sampler)
            if self.recipe is None
            else recipe(self.recipe, self.sampler)
        )
        built = sampler(self.sampler, base | dict(self.options))
        mc, stopping = self._samples(bundle)
        size = bundle.manifest.image.size
        found = Sampling(
            built,
            mc=mc,
            seed=self.seed,
            batch=_default_batch(size, gpu=expects_gpu(self.target))
            if self.batch is None
            else self.batch,
            # the published samplers start around 0
            prior_mean=bundle.manifest.prior_mean if self.recipe is None else 0.0,
            series=series,
            stopping=stopping,
            branch_at=self.branch_at,
            antithetic=self.antithetic,
        )
        found.check(self.process(bundle))
        return found

    def check(self, bundle: Bundle) -> None:
        """UsageError where the bundle does not serve these settings, EngineError where the device cannot be had."""
        self.sampling(bundle, "")
        check_device(self.target)

    def target_of(self, bundle: Bundle) -> Target:
        """Where the bundle's network is to run, with the batch of the sampling."""
        return replace(self.target, batch=self.sampling(bundle, "").batch)

    def record(self) -> dict[str, Any]:
        """The settings as JSON has them; a warm start's network is told by its digest."""
        warm = self.warm_start
        record = {each.name: getattr(self, each.name) for each in fields(self)}
        return record | {
            "options": dict(self.options),
            "target": asdict(self.target),
            "warm_start": None
            if warm is None
            else {"bundle_sha256": warm.bundle.sha256, "sigma": warm.sigma},
        }

    def notes(self, bundle: Bundle) -> tuple[str, ...]:
        """What is to be told of the choice: that the bundle has no preset for the sampler, where none was made."""
        if self.recipe is not None or "steps" in self.options or bundle.has_preset(self.sampler):
            return ()
        own = self.sampling(bundle, "").sampler.steps
        note = (
            f"{bundle.manifest.name} has no preset for the sampler {self.sampler}: it takes the sampler's own "
            f"{own} evaluations; `mrct tune` finds those that suit the network"
        )
        return (note,)

    def _samples(self, bundle: Bundle) -> tuple[int, Stopping | None]:
        """The most samples a slice, and when fewer are enough."""
        if isinstance(self.mc, tuple):
            return self._between(*self.mc, bundle)
        if self.mc_tolerance_hu is not None:
            raise UsageError(
                "mc_tolerance chooses between the fewest and the most samples: give mc as two numbers, such as 4..32"
            )
        if not isinstance(bundle.process, Direct):
            return Sampling.mc if self.mc is None else self.mc, None
        if self.mc is not None and self.mc > 1:
            raise UsageError(
                f"a direct network has one image of a slice, mc {self.mc} asks for more: leave mc out"
            )
        return 1 if self.mc is None else self.mc, None

    def _between(self, least: int, most: int, bundle: Bundle) -> tuple[int, Stopping]:
        if isinstance(bundle.process, Direct):
            raise UsageError(
                f"a direct network has one image of a slice, mc {least}..{most} asks for more: leave mc out"
            )
        if self.mc_tolerance_hu is None:
            raise UsageError(
                f"mc {least}..{most} needs mc_tolerance, the standard error of the mean in HU that is enough, such as 5"
            )
        check_positive("mc_tolerance", self.mc_tolerance_hu)
        return most, Stopping(least, self.mc_tolerance_hu / bundle.window.width)


def _default_batch(size: int, *, gpu: bool) -> int:
    """Images of size x size at once, of several slices where the samples of one are fewer."""
    if gpu:
        return max(1, _PIXELS_A_GPU_BATCH // size**2)
    return max(1, min(_IMAGES_A_BATCH, _PIXELS_A_BATCH // size**2))


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

    @property
    def evaluations(self) -> int:
        """Images that go through the network; the most of them where the sampler adapts."""
        return self.sampling.sampler.evaluations * self.sampling.mc * len(self.condition.array)

    @property
    def journal_bytes(self) -> int:
        """What the journal of a whole run takes: mean and deviation in float64."""
        return 16 * self.condition.array.size

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
        )
        counting = Counting(self.body)
        plan = self._plan(engine)

        def take(finished: Finished) -> None:
            counting.count(finished)
            placing.place(finished)
            if journal is not None:
                journal.keep(finished)

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
        return min(batch, _default_batch(self.bundle.manifest.image.size, gpu=False))

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


def prepare(
    bundle: Bundle, study: Path | str, settings: Settings, *, series: str | None = None
) -> Job:
    """The job of translating a study's axial T2w series, or the one named by its UID or number, or a volume's file."""
    # a wrong option is told before minutes go into reading
    settings.check(bundle)
    started = time.perf_counter()
    source = read_source(study, series=series)
    read = time.perf_counter()
    manifest = bundle.manifest
    condition, body, lost, mask = conditioned(
        source.volume, manifest.mr_normalisation, manifest.image
    )
    unlike = departures(manifest, source, condition.array)
    given = Given(mask, lost, unlike, is_compared(manifest))
    seconds = {"reading": read - started, "preparing": time.perf_counter() - read}
    sampling = settings.sampling(bundle, source.uid)
    warnings = (
        *source.notes,
        *settings.notes(bundle),
        *departed(unlike),
        *_cut_off(lost, manifest.image),
    )
    return Job(bundle, settings, sampling, source, condition, body, given, warnings, seconds)


class Conditioned(NamedTuple):
    """The network's view of an MR: its image in [0, 1] and body mask, both [S, N, N], and how much body it misses.

    `mask` is the whole body on the MR's own canonical grid.
    """

    condition: Volume
    body: NDArray[np.bool_]
    lost: float
    mask: Volume


def conditioned(mr: Volume, normalisation: MrNormalisation, image: Image) -> Conditioned:
    """The MR on the model grid, 0 and False where there is no MR; `lost` is the fraction of the body beyond the grid."""
    canonical = mr.canonical()
    mask = body_mask(canonical)
    grid = model_grid(canonical, image.size, image.spacing_mm)
    condition = normalisation.normalise(canonical, mask).resample(grid, fill=0.0)
    body = Volume(mask.astype(np.uint8), canonical.grid).resample(grid, fill=0, order=0)
    seen = Volume(np.ones(grid.shape, np.uint8), grid).resample(canonical.grid, fill=0, order=0)
    lost = 1 - float(seen.array[mask].mean())
    return Conditioned(condition, body.array.astype(bool), lost, Volume(mask, canonical.grid))


def translate(
    bundle: Bundle, study: Path | str, settings: Settings, *, series: str | None = None
) -> Result:
    """The synthetic CT of a study, with an engine opened and closed for it."""
    with open_meanwhile(bundle, settings) as opened:
        job = prepare(bundle, study, settings, series=series)
        with closing(opened()) as engine:
            return job.run(engine)


@contextmanager
def open_meanwhile(
    bundle: Bundle, settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[], Engine]]:
    """A call for the engine of a job with these settings, which is opened while the study is read; as of `opening`."""
    settings.check(bundle)
    target = settings.target_of(bundle)
    with opening(partial(bundle.open_engine, target), tell) as opened:
        yield opened


def _cut_off(lost: float, image: Image) -> tuple[str, ...]:
    if lost <= _WARN_LOST:
        return ()
    side = image.size * image.spacing_mm
    complaint = (
        f"{lost:.1%} of the body lies outside the model's field of view of {side:.0f} mm and becomes air; "
        "take a bundle with a larger one"
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
