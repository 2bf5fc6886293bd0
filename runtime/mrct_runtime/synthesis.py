"""Monte Carlo synthesis: slices x samples in batches, streaming moments out.

The batch crosses slices: rows are (slice, sample) in order, cut where the batch is full. Every row has its own noise,
so neither the batch size nor the order of slices shows in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.denoisers import Counted
from mrct_runtime.engines import Engine
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import Process
from mrct_runtime.samplers import Sampler


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn: everything between the command line and the loop.

    `mc` samples a slice; `batch` rows at once, fewer where the engine takes fewer; `prior_mean` is the data's mean,
    which the prior keeps as alpha(t_max) m: std(t_max) alone does not quite forget it. `series` keys the noise.
    """

    sampler: Sampler
    mc: int = 10
    seed: int = 0
    batch: int = 10
    prior_mean: float = 0.0
    series: str = ""

    def __post_init__(self) -> None:
        if self.mc < 1:
            raise UsageError(f"mc must be at least 1 sample a slice, got {self.mc}")
        if self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and deviation (ddof 1) over n samples a slice, float64 [S, H, W], and the evaluations of all samples together.

    An adaptive sampler's batch goes on until its last sample is done, so its evaluations depend on the batch.

    The deviation of few samples is low by the factor c4(n) (0.973 at n = 10); it is not corrected here. With one
    sample it is 0.
    """

    mean: Array
    std: Array
    n: int
    evaluations: int


@dataclass(frozen=True)
class Progress:
    """Where a synthesis stands: slices finished of all, and rows (slice, sample) finished of all."""

    slices: int
    total_slices: int
    rows: int
    total_rows: int


Rows: TypeAlias = Sequence[tuple[int, int]]


def synthesize(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    progress: Callable[[Progress], None] | None = None,
    slices: Sequence[int] | None = None,
    samples: Callable[[int, int, Array], None] | None = None,
) -> Moments:
    """Mean and deviation [S, H, W] of the samples of every slice of the condition [S, H, W].

    `slices` names each slice for the noise, where `cond` is a part or a permutation of a study; 0..S-1 otherwise.
    `samples` is handed every finished one, [H, W] in units of the network and not clipped, with its places in `cond`
    and among the slice's samples; nothing else keeps it. Welford's update in sample order, float64. NumericError names
    the slice and sample of a value that is not finite.
    """
    sampling.sampler.check(process)
    names = range(len(cond)) if slices is None else slices
    mean, m2 = np.zeros(cond.shape), np.zeros(cond.shape)
    total = len(cond) * sampling.mc
    done, evaluations = 0, 0
    for rows in _batches(len(cond), sampling.mc, min(sampling.batch, engine.max_batch)):
        drawn, taken = _draw(engine, process, cond, sampling, rows, names)
        for (s, k), sample in zip(rows, drawn, strict=True):
            if not np.isfinite(sample).all():
                raise NumericError(
                    f"sample {k} of slice {s} has values that are not finite; try the fp32 model or more steps"
                )
            difference = sample - mean[s]
            mean[s] += difference / (k + 1)
            m2[s] += difference * (sample - mean[s])
            if samples is not None:
                samples(s, k, sample)
        done += len(rows)
        evaluations += taken * len(rows)
        if progress is not None:
            progress(Progress(done // sampling.mc, len(cond), done, total))
    return Moments(mean, np.sqrt(m2 / max(sampling.mc - 1, 1)), sampling.mc, evaluations)


def _batches(slices: int, mc: int, batch: int) -> Iterator[Rows]:
    total = slices * mc
    for start in range(0, total, batch):
        yield [divmod(row, mc) for row in range(start, min(start + batch, total))]


def _draw(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    rows: Rows,
    names: Sequence[int],
) -> tuple[Array, int]:
    """Samples float64 [B, H, W] of these rows, on the host, and the evaluations that each took."""
    xp = engine.xp
    height, width = cond.shape[1:]
    images = xp.asarray(cond[[s for s, _ in rows], None], dtype=xp.float32)
    keys = [(names[s], k) for s, k in rows]
    noise = Noise(sampling.seed, sampling.series, keys, (height, width), xp)
    start = process.alpha(process.t_max) * sampling.prior_mean
    x = start + process.std(process.t_max) * noise()
    denoise = Counted(engine.bind(images))
    drawn = sampling.sampler(denoise, process, x, noise)
    return engine.to_host(drawn)[:, 0].astype(np.float64), denoise.evaluations
