"""Calibration: whether the error of a mean keeps to what the deviation of its samples promises.

If the truth were one more sample, Gaussian like the n that were drawn, (truth - mean) / (std sqrt(1 + 1/n)) would
follow Student's t with n - 1 degrees of freedom: the mean has an error of its own, std / sqrt(n), and std is an
estimate from n values. So the central interval of probability p is mean +- q(p) std, and covers p of the voxels,
also of ten samples a slice. A recalibrated deviation takes the place of std in the same interval.

Tissues are told apart by the mean, which is all that is known where there is no CT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.evaluation.results import EVERYONE, Interval
from mrct_runtime.evaluation.tissue import tissues

LEVELS: Final = (0.5, 0.8, 0.95)
"""Nominal probabilities of the intervals."""

BINS: Final = 10
"""Bins of equally many voxels, by their deviation."""

LEAST_VOXELS: Final = 100
"""Of a tissue with fewer nothing is said."""

RULE: Final = "mean +- t(n - 1) sqrt(1 + 1/n) std"


@dataclass(frozen=True, eq=False)
class Voxels:
    """The body of one subject through one run, all [N] in HU: mean, deviation (ddof 1), and error = truth - mean."""

    mean_hu: NDArray[Any]
    std_hu: NDArray[Any]
    error_hu: NDArray[Any]

    def __len__(self) -> int:
        return len(self.mean_hu)

    def where(self, chosen: NDArray[Any]) -> Voxels:
        """Those of them that a mask or indices choose."""
        return Voxels(self.mean_hu[chosen], self.std_hu[chosen], self.error_hu[chosen])

    @classmethod
    def together(cls, subjects: Sequence[Voxels]) -> Voxels:
        """The voxels of all subjects, one after the other."""
        parts = [(each.mean_hu, each.std_hu, each.error_hu) for each in subjects]
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def by_tissue(self) -> dict[str, Voxels]:
        """All of them, and those of each tissue."""
        return {EVERYONE: self} | {
            name: self.where(chosen) for name, chosen in tissues(self.mean_hu).items()
        }


@dataclass(frozen=True)
class Bin:
    """Voxels of similar deviation: the error's deviation that is promised, sqrt(mean (1 + 1/n) std^2), and that met."""

    voxels: int
    promised_hu: float
    rmse_hu: float
    mae_hu: float


@dataclass(frozen=True)
class Reliability:
    """What the deviation is worth in one tissue or in all.

    `coverage` is nominal ("50") -> the share of voxels inside the interval, the mean over subjects. `ence` is the mean
    over bins of |promised - rmse| / promised (Levi et al. 2022), None where a bin promises no error at all. Few samples
    leave one above 0 also where the truth is one more sample, for their deviation is itself uncertain.
    `correlation` is Spearman's of std and |error|, None where either is the same everywhere.
    """

    subjects: int
    voxels: int
    mean_std_hu: float
    mae_hu: float
    rmse_hu: float
    coverage: Mapping[str, Interval]
    ence: float | None
    correlation: float | None
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """The reliability of the deviation of n samples: over all of the body ("all") and by tissue, those that there are."""

    n: int
    rule: str
    tissues: Mapping[str, Reliability]

    @property
    def worst(self) -> float:
        """The coverage that is furthest from its nominal, as signed difference, over the whole body."""
        found = self.tissues[EVERYONE].coverage
        return max((found[name_of(p)].value - p for p in LEVELS), key=abs)


def calibration(
    subjects: Sequence[Voxels], n: int, bootstrap: Bootstrap | None = None
) -> Calibration:
    """What these subjects say of the deviation of n samples; each counts once in coverages."""
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    parts: dict[str, list[Voxels]] = {}
    for subject in subjects:
        for name, voxels in subject.by_tissue().items():
            if len(voxels) >= (1 if name == EVERYONE else LEAST_VOXELS):
                parts.setdefault(name, []).append(voxels)
    return Calibration(
        n, RULE, {name: _reliability(found, n, bootstrap) for name, found in parts.items()}
    )


def recalibrated(voxels: Voxels, recalibration: Recalibration) -> Voxels:
    """The voxels with the recalibrated deviation in place of their own."""
    body = np.ones(len(voxels), dtype=bool)
    std_hu = recalibration.apply(voxels.mean_hu, voxels.std_hu, body)
    return replace(voxels, std_hu=std_hu)


def quantile(p: float, n: int) -> float:
    """q(p): half the width of the central interval of probability p, in deviations of n samples."""
    if n < 2:
        raise UsageError(f"an interval needs the deviation of at least 2 samples, got {n}")
    return float(special.stdtrit(n - 1, (1 + p) / 2)) * math.sqrt(1 + 1 / n)


def coverage(voxels: Voxels, n: int) -> dict[str, float]:
    """Nominal -> the share of voxels whose truth lies in the interval, its ends included."""
    size = np.abs(voxels.error_hu)
    return {name_of(p): float((size <= quantile(p, n) * voxels.std_hu).mean()) for p in LEVELS}


def name_of(p: float) -> str:
    """A probability in per cent, as reports name it: 0.5 is "50"."""
    return f"{100 * p:g}"


def bins(voxels: Voxels, n: int, count: int = BINS) -> tuple[Bin, ...]:
    """Bins of equally many voxels (within one) in the order of their deviation."""
    order = np.argsort(voxels.std_hu, kind="stable")
    return tuple(_bin(voxels.where(part), n) for part in np.array_split(order, count) if len(part))


def ence(parts: Sequence[Bin]) -> float | None:
    """The expected normalised calibration error, mean |promised - rmse| / promised."""
    if any(part.promised_hu == 0 for part in parts):
        return None
    return float(
        np.mean([abs(part.promised_hu - part.rmse_hu) / part.promised_hu for part in parts])
    )


def _bin(voxels: Voxels, n: int) -> Bin:
    error = voxels.error_hu.astype(np.float64)
    promised = _rms(voxels.std_hu) * math.sqrt(1 + 1 / n)
    return Bin(len(voxels), promised, _rms(error), float(np.abs(error).mean()))


def _reliability(subjects: Sequence[Voxels], n: int, bootstrap: Bootstrap) -> Reliability:
    voxels = Voxels.together(subjects)
    covered = [coverage(subject, n) for subject in subjects]
    parts = bins(voxels, n)
    return Reliability(
        subjects=len(subjects),
        voxels=len(voxels),
        mean_std_hu=float(voxels.std_hu.mean(dtype=np.float64)),
        mae_hu=float(np.abs(voxels.error_hu).mean(dtype=np.float64)),
        rmse_hu=_rms(voxels.error_hu),
        coverage={
            name: bootstrap.interval([each[name] for each in covered])
            for name in map(name_of, LEVELS)
        },
        ence=ence(parts),
        correlation=_spearman(voxels.std_hu, np.abs(voxels.error_hu)),
        bins=parts,
    )


def _rms(values: NDArray[Any]) -> float:
    return math.sqrt(float(np.square(values, dtype=np.float64).mean()))


def _spearman(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """The correlation of ranks; ties share theirs."""
    first, second = _ranks(a), _ranks(b)
    if not (np.ptp(first) and np.ptp(second)):
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], dtype=np.float64)
