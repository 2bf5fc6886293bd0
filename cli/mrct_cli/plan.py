"""What a run is going to do, in lines for a person."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mrct_cli.progress import clock
from mrct_runtime.samplers import adapts

if TYPE_CHECKING:
    from mrct_runtime.engines import Engine
    from mrct_runtime.job import Job


def plan_lines(job: Job) -> Iterator[str]:
    """The series, the model, the sampler and the amount of work."""
    manifest, sampling = job.bundle.manifest, job.sampling
    grid = job.source.volume.grid
    slices, rows, columns = grid.shape
    spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)
    yield f"input:   {job.source.reason or job.source}"
    yield f"         {slices} slices of {rows} x {columns}, {spacing} mm"
    image = manifest.image
    yield (
        f"model:   {manifest.name} (sha256 {job.bundle.sha256[:12]}), "
        f"{image.size} x {image.size} pixels of {image.spacing_mm:g} mm"
    )
    yield f"sampler: {sampling.sampler!r}"
    if job.started is not None:
        yield f"start:   {job.started}"
    yield (
        f"work:    {_samples(job)} a slice, {_most(job)}{job.evaluations} network evaluations, "
        f"{sampling.batch} images at once, seed {sampling.seed}"
    )


def estimate_lines(job: Job) -> Iterator[str]:
    """The time and memory that a run takes, from one batch through the network."""
    engine = job.open_engine()
    try:
        batch = min(
            job.sampling.batch, engine.max_batch, len(job.condition.array) * job.sampling.mc
        )
        seconds = _seconds(engine, (batch, 1, *job.condition.array.shape[1:]), job)
    finally:
        engine.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    total = seconds * job.evaluations / batch
    yield f"time:    {_most(job)}{clock(total)}, at {seconds * 1000:.0f} ms for {batch} images"
    yield f"memory:  {peak_mb:.0f} MB so far, after one batch"


def _samples(job: Job) -> str:
    sampling, tolerance = job.sampling, job.settings.mc_tolerance_hu
    if sampling.stopping is not None:
        enough = f"until their mean's standard error is {tolerance:g} HU"
        return f"{sampling.least} to {sampling.mc} samples {enough}"
    return f"{sampling.mc} sample{'' if sampling.mc == 1 else 's'}"


def _most(job: Job) -> str:
    """The evaluations are an upper limit where the sampler or the samples adapt, or samples share some."""
    sampling = job.sampling
    limited = sampling.stopping is not None or sampling.branch_at is not None
    return "at most " if limited or adapts(job.settings.sampler) else ""


def _seconds(engine: Engine, shape: tuple[int, ...], job: Job) -> float:
    """What one evaluation takes, with the way back to the host."""
    device = engine.device
    with device.running():
        x = device.xp.zeros(shape, "float32")
        denoise = engine.bind(x)
        # the first evaluation also allocates
        for _ in range(2):
            started = time.perf_counter()
            device.to_host(denoise(x, job.bundle.process.t_max))
            seconds = time.perf_counter() - started
    return seconds
