"""Monte Carlo synthesis: slices x samples in batches, streaming moments out.

The batch crosses slices: rows are (slice, sample) in order, cut where the batch is full. Every row has its own noise,
so neither the batch size nor the order of slices shows in the result. Samples and the moments of unfinished slices stay
on the engine's device; a finished slice's mean and deviation come to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, array_namespace
from mrct_runtime.denoisers import Counted
from mrct_runtime.engines import Engine
from mrct_runtime.errors import DeviceMemoryError, NumericError, UsageError
from mrct_runtime.moments import Running
from mrct_runtime.noise import Noise
from mrct_runtime.process import Process
from mrct_runtime.samplers import Sampler

Guess: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""x_0 of a condition, both [B, 1, H, W] on the host: its network may have a device or a queue of its own."""


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn: everything between the command line and the loop.

    `mc` samples a slice; `batch` rows at once, fewer where the engine takes fewer; `prior_mean` is the data's mean,
    which the prior keeps as alpha(t_max) m: std(t_max) alone does not quite forget it. `series` keys the noise.
    `guess` gives in its place an image of the condition, for a process that starts with little noise.
    """

    sampler: Sampler
    mc: int = 10
    seed: int = 0
    batch: int = 10
    prior_mean: float = 0.0
    series: str = ""
    guess: Guess | None = None

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
    sample it is 0. `batch` is the most rows that were drawn at once: fewer than asked for where memory was short.
    """

    mean: Array
    std: Array
    n: int
    evaluations: int
    batch: int


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
    `samples` is handed every finished one, float64 [H, W] on the host, in units of the network and not clipped, with its
    places in `cond` and among the slice's samples; nothing else keeps it. Where the device's memory is too small for a
    batch, it is halved, and the same rows are drawn with the same noise; DeviceMemoryError where one row is too much.
    NumericError names the slice and sample of a value that is not finite.

    Of a device, one batch is one way there and back: the condition goes up, whether all is finite comes down, and with it
    what is finished. In between nothing is copied and nobody waits, but for samplers that adapt their steps. A guess goes
    up with the condition.
    """
    sampling.sampler.check(process)
    names = range(len(cond)) if slices is None else slices
    mean, std = np.empty(cond.shape), np.empty(cond.shape)
    mc, total = sampling.mc, len(cond) * sampling.mc
    batch, largest = min(sampling.batch, engine.max_batch), 0
    running, done, evaluations = Running(), 0, 0
    with engine.device.running():
        while done < total:
            rows = [divmod(row, mc) for row in range(done, min(done + batch, total))]
            drawn, taken = _draw_if_it_fits(engine, process, cond, sampling, rows, names)
            if drawn is None:
                # only now, when the arrays of the failed batch are gone
                engine.device.trim()
                batch = len(rows) // 2
                continue
            _check_finite(engine, drawn, rows)
            for (s, k), sample in zip(rows, drawn, strict=True):
                running.add(sample)
                if samples is not None:
                    samples(s, k, engine.device.to_host(sample).astype(np.float64))
                if k == mc - 1:
                    mean[s], std[s] = map(engine.device.to_host, (running.mean, running.std))
                    running = Running()
            done, largest = done + len(rows), max(largest, len(rows))
            evaluations += taken * len(rows)
            if progress is not None:
                progress(Progress(done // mc, len(cond), done, total))
    return Moments(mean, std, mc, evaluations, largest)


def _draw_if_it_fits(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    rows: Rows,
    names: Sequence[int],
) -> tuple[Array | None, int]:
    """As `_draw`; None where memory is too small for so many rows, DeviceMemoryError where there is one."""
    try:
        return _draw(engine, process, cond, sampling, rows, names)
    except (DeviceMemoryError, MemoryError) as error:
        if len(rows) > 1:
            return None, 0
        raise DeviceMemoryError(
            f"{engine.device.name} has too little memory for one image of {cond.shape[1]} x {cond.shape[2]}"
        ) from error


def _draw(
    engine: Engine,
    process: Process,
    cond: Array,
    sampling: Sampling,
    rows: Rows,
    names: Sequence[int],
) -> tuple[Array, int]:
    """Samples [B, H, W] of these rows on the engine's device, and the evaluations that each took."""
    device = engine.device
    given = cond[[s for s, _ in rows], None].astype(np.float32)
    images = device.xp.asarray(given)
    keys = [(names[s], k) for s, k in rows]
    noise = Noise(sampling.seed, sampling.series, keys, cond.shape[1:], device.normals)
    centre = sampling.prior_mean
    if sampling.guess is not None:
        centre = device.xp.asarray(sampling.guess(given))
    start = process.alpha(process.t_max) * centre
    x = start + process.std(process.t_max) * noise()
    denoise = Counted(engine.bind(images))
    drawn = sampling.sampler(denoise, process, x, noise)
    return drawn[:, 0], denoise.evaluations


def _check_finite(engine: Engine, drawn: Array, rows: Rows) -> None:
    finite = engine.device.to_host(array_namespace(drawn).isfinite(drawn).all(axis=(1, 2)))
    for (s, k), sound in zip(rows, finite.tolist(), strict=True):
        if not sound:
            raise NumericError(
                f"sample {k} of slice {s} has values that are not finite; try the fp32 model or more steps"
            )
