"""Fitting a recalibration to the errors of validation subjects.

One factor brings the whole body near nominal coverage and leaves bone, a few per cent of it, at half: there the samples
agree on a density that the MR does not show. So each tissue has its own. A floor stands for errors where the samples
agree and are wrong alike (noise of the CT, texture that the MR does not show); it brings the widest intervals, which
heavy tails leave too narrow, to nominal (benchmarks/calibration.py has the figures). Both are fitted to the coverages
themselves, as errors are not Gaussian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.evaluation.calibration import (
    LEAST_VOXELS,
    LEVELS,
    Voxels,
    coverage,
    quantile,
    recalibrated,
)
from mrct_runtime.evaluation.recalibration import WHOLE, Recalibration, Scale
from mrct_runtime.evaluation.tissue import TISSUES

GROUPS: Final = 5
"""Groups of equally many voxels, by deviation, in each of which the coverage is to be nominal."""

FLOORS_HU: Final[tuple[float, ...]] = (0.0, *np.geomspace(0.5, 500.0, 40).tolist())
"""The floors, before the factor, among which the best is taken."""

# 2 % from one to the next
_FACTORS: Final = np.geomspace(0.05, 50.0, 350)
# far below what any network resolves
_LEAST_STD_HU: Final = 1e-6


def fit(
    subjects: Sequence[Voxels],
    options: Mapping[str, Any],
    n: int,
    *,
    data: str,
    slices: int,
    by_tissue: bool = True,
    prior_mean: float = 0.0,
    subjects_sha256: Sequence[str] = (),
) -> Recalibration:
    """The recalibration of n samples, drawn with these options, that suits the errors of these subjects.

    A tissue with too few voxels to fit gets the scale of the whole body. `subjects_sha256` are the subjects' digests,
    by which an evaluation knows them again.
    """
    voxels = Voxels.together(subjects)
    if len(voxels) < LEAST_VOXELS:
        raise InputRejectedError(
            f"{len(voxels)} voxels are too few to fit a recalibration; take more slices or subjects"
        )
    whole = fit_scale(voxels, n)
    parts = voxels.by_tissue()
    scales = {
        name: fit_scale(parts[name], n) if len(parts[name]) >= LEAST_VOXELS else whole
        for name in TISSUES
    }
    made = Recalibration(
        options=dict(options),
        mc=n,
        prior_mean=prior_mean,
        scales=scales if by_tissue else {WHOLE: whole},
        data=data,
        subjects=len(subjects),
        subjects_sha256=tuple(subjects_sha256),
        slices=slices,
        coverage={},
    )
    before, after = coverage(voxels, n), coverage(recalibrated(voxels, made), n)
    return made.model_copy(update={"coverage": {p: (before[p], after[p]) for p in before}})


def fit_scale(voxels: Voxels, n: int, floors: Sequence[float] = FLOORS_HU) -> Scale:
    """The scale, with one of these floors before its factor, whose coverages are nearest to nominal: least squares over the levels, in each group of voxels.

    The groups are by deviation: over all voxels at once a floor alone, which forgets where the error is large, could
    reach nominal coverage as well.
    """
    size, std = np.abs(voxels.error_hu, dtype=np.float64), voxels.std_hu.astype(np.float64)
    groups = np.array_split(np.argsort(std, kind="stable"), GROUPS)
    found = (_best(size, std, groups, floor, n) for floor in floors)
    _, factor, floor = min(found)
    return Scale(factor=factor, floor_hu=factor * floor)


def _best(
    size: NDArray[np.float64],
    std: NDArray[np.float64],
    groups: Sequence[NDArray[np.int64]],
    floor: float,
    n: int,
) -> tuple[float, float, float]:
    """The least loss and its factor for std' = factor sqrt(std^2 + floor^2), with the floor."""
    z = size / np.maximum(np.hypot(std, floor), _LEAST_STD_HU)
    widths = np.outer(_FACTORS, [quantile(p, n) for p in LEVELS])
    loss = np.zeros(len(_FACTORS))
    for group in groups:
        covered = np.searchsorted(np.sort(z[group]), widths, side="right") / len(group)
        loss += np.square(covered - LEVELS).sum(axis=1)
    best = int(loss.argmin())
    return float(loss[best]), float(_FACTORS[best]), float(floor)
