"""From a study to a result: read, prepare, sample, and back onto the MR's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.bundle import Bundle
from mrct_runtime.departures import Given, departed, departures, is_compared
from mrct_runtime.engines import Engine
from mrct_runtime.intensity import MrNormalisation, body_mask
from mrct_runtime.job import Job
from mrct_runtime.manifest import Image
from mrct_runtime.opening import opening
from mrct_runtime.result import Result
from mrct_runtime.scratch import IN_MEMORY, Scratch, slices
from mrct_runtime.settings import Settings
from mrct_runtime.source import read_source
from mrct_runtime.volume import Grid, Volume, model_grid

_WARN_LOST = 0.001


def prepare(
    bundle: Bundle,
    study: Path | str,
    settings: Settings,
    *,
    series: str | None = None,
    scratch: Scratch = IN_MEMORY,
) -> Job:
    """The job of translating a study's axial T2w series, or the one named by its UID or number, or a volume's file.

    Its volumes, and those of its result, lie in the scratch.
    """
    # a wrong option is told before minutes go into reading
    settings.check(bundle)
    started = time.perf_counter()
    source = read_source(study, series=series, scratch=scratch)
    read = time.perf_counter()
    manifest = bundle.manifest
    condition, body, lost, mask = conditioned(
        source.volume, manifest.mr_normalisation, manifest.image, scratch
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
    return Job(
        bundle, settings, sampling, source, condition, body, given, warnings, seconds, scratch
    )


class Conditioned(NamedTuple):
    """The network's view of an MR: its image in [0, 1] and body mask, both [S, N, N], and how much body it misses.

    `mask` is the whole body on the MR's own canonical grid.
    """

    condition: Volume
    body: NDArray[np.bool_]
    lost: float
    mask: Volume


def conditioned(
    mr: Volume, normalisation: MrNormalisation, image: Image, scratch: Scratch = IN_MEMORY
) -> Conditioned:
    """The MR on the model grid, 0 and False where there is no MR; `lost` is the fraction of the body beyond the grid."""
    canonical = mr.canonical(scratch)
    mask = body_mask(canonical, scratch)
    grid = model_grid(canonical, image.size, image.spacing_mm)
    unit = normalisation.normalise(canonical, mask, scratch)
    condition = unit.resample(grid, fill=0.0, scratch=scratch)
    body = Volume(mask.view(np.uint8), canonical.grid).resample(
        grid, fill=0, order=0, scratch=scratch
    )
    lost = _lost(mask, grid, canonical.grid)
    return Conditioned(condition, body.array.view(bool), lost, Volume(mask, canonical.grid))


def _lost(mask: NDArray[np.bool_], grid: Grid, canonical: Grid) -> float:
    """The fraction of the mask [S, H, W] on the canonical grid that lies beyond the other, which has the same slices."""
    inside = seen = 0
    for s, image in enumerate(slices(mask)):
        shown = Volume(np.ones((1, *grid.shape[1:]), np.uint8), grid.at(s))
        found = shown.resample(canonical.at(s), fill=0, order=0).array[0]
        inside += int(np.count_nonzero(image))
        seen += int(np.count_nonzero(found[image]))
    return 1 - seen / inside


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
