"""A synthetic CT against the true one: errors by tissue, similarity, and what the deviation was worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.reference import Reference
from mrct_runtime.errors import SeriesError
from mrct_runtime.evaluation import metrics
from mrct_runtime.evaluation.calibration import Bin, Voxels, calibration
from mrct_runtime.evaluation.metrics import SYNTHRAD_2023, WINDOW
from mrct_runtime.evaluation.results import EVERYONE
from mrct_runtime.evaluation.tissue import tissues
from mrct_runtime.result import Result

LEAST_COVERED: Final = 0.5
"""A reference that shows less of the body is refused."""
_MOST_VOXELS: Final = 200_000


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out. Arrays are [S, H, W] on the MR's canonical grid; `where` is the body that the true CT shows.

    `metrics` are in HU and dB; `constant_hu` is the error of the one HU value that fits the body best. `coverage` is
    nominal ("95") -> share of voxels inside that interval, empty where the samples are too few or not independent.
    """

    truth: NDArray[Any]
    where: NDArray[np.bool_]
    covered: float
    resampled: bool
    metrics: Mapping[str, float]
    constant_hu: float
    coverage: Mapping[str, float] = field(default_factory=dict)
    correlation: float | None = None
    bins: tuple[Bin, ...] = ()

    def record(self) -> dict[str, Any]:
        """The comparison as run.json has it."""
        rounded = {name: round(value, 4) for name, value in self.metrics.items()}
        return {
            "resampled": self.resampled,
            "body_covered": round(self.covered, 4),
            "metrics": rounded,
            "mae_of_one_value_hu": round(self.constant_hu, 4),
            "coverage": {name: round(value, 4) for name, value in self.coverage.items()},
            "deviation_error_correlation": self.correlation,
        }


def compare(result: Result, reference: Reference) -> Comparison:
    """The result against the true CT in the body that both show; SeriesError where that is little of it."""
    body = result.given.body.array
    truth, shown = (
        result.source.volume.grid.canonically(each) for each in (reference.hu, reference.shown)
    )
    where = np.asarray(body & shown)
    covered = float(where.sum()) / max(float(body.sum()), 1.0)
    if covered < LEAST_COVERED:
        raise SeriesError(
            f"the reference CT shows {covered:.0%} of the MR's body, at least {LEAST_COVERED:.0%} is needed; "
            "give the CT of this MR"
        )
    image = result.mean_hu.grid.canonically(result.mean_hu.array)
    inside = truth[where]
    return Comparison(
        truth=truth,
        where=where,
        covered=covered,
        resampled=reference.resampled,
        metrics=_metrics(truth, image, where),
        constant_hu=float(np.abs(inside - np.median(inside)).mean()),
        **_worth(result, truth, image, where),
    )


def _metrics(
    truth: NDArray[Any], image: NDArray[Any], where: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Those that exist: MAE in the body and by tissue, PSNR and SSIM as SynthRAD2023 has them."""
    crop = _around(where)
    truth, image, where = truth[crop], image[crop], where[crop]
    found = {"mae_hu": metrics.mae(truth, image, where)}
    for name, tissue in tissues(truth).items():
        found[f"mae_{name}_hu"] = metrics.mae(truth, image, tissue & where)
    found["psnr_2023"] = metrics.psnr(truth, image, where, SYNTHRAD_2023)
    found["ssim_2023"] = metrics.ssim(truth, image, where, SYNTHRAD_2023)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _around(where: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The mask's box and a window around it: outside both images are air, so that metrics do not change by the crop."""
    box = []
    for axis in range(where.ndim):
        others = tuple(a for a in range(where.ndim) if a != axis)
        places = np.flatnonzero(where.any(axis=others))
        box.append(slice(max(int(places[0]) - WINDOW, 0), int(places[-1]) + 1 + WINDOW))
    return tuple(box)


def _worth(
    result: Result, truth: NDArray[Any], image: NDArray[Any], where: NDArray[np.bool_]
) -> dict[str, Any]:
    """What the deviation says of the errors; nothing of one sample, or of samples that are not independent."""
    n = min(result.counters.samples)
    if n < 2 or result.counters.standard_error_hu is None:
        return {}
    std = result.std_hu.grid.canonically(result.std_hu.array)
    chosen = np.flatnonzero(where)
    if chosen.size > _MOST_VOXELS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _MOST_VOXELS, replace=False))
    flat = truth.ravel()[chosen], image.ravel()[chosen], std.ravel()[chosen]
    voxels = Voxels(flat[1], flat[2], flat[0] - flat[1])
    found = calibration([voxels], n).tissues[EVERYONE]
    coverage = {name: interval.value for name, interval in found.coverage.items()}
    return {"coverage": coverage, "correlation": found.correlation, "bins": found.bins}
