"""Every metric of a case: one image of each of its slices, held against its CT."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation import metrics
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.metrics import SYNTHRAD_2023, SYNTHRAD_2025, HuRange
from mrct_runtime.evaluation.tissue import tissues
from mrct_runtime.intensity import HuWindow
from mrct_runtime.synthesis import Moments

Images: TypeAlias = Sequence[NDArray[Any]]
"""An image [S, N, N] for every part of a case, in units of the network."""


@dataclass(frozen=True)
class Ruler:
    """What metrics depend on besides the images: the ranges in HU, and whether the paper's see beyond the body."""

    range_2023: HuRange = SYNTHRAD_2023
    range_2025: HuRange = SYNTHRAD_2025
    outside: Literal["keep", "air"] = "keep"

    def __post_init__(self) -> None:
        for low, high in (self.range_2023, self.range_2025):
            if not -math.inf < low < high < math.inf:
                raise UsageError(f"a range needs low < high in HU, got {low:g} and {high:g}")

    def scores(self, case: Case, images: Images, window: HuWindow) -> dict[str, float]:
        """Metric -> its mean over the slices of the case, or its value of the volume.

        The images are cut to the window first, as a result is before it is written; the CT is not. Values that do not
        exist or are infinite are left out of means, and a metric without any is left out.
        """
        found: list[tuple[int, dict[str, float]]] = []
        for part, image in zip(case.parts, images, strict=True):
            unit = image.clip(0.0, 1.0)
            found += [(1, self._paper(part, s, unit[s], window)) for s in range(len(unit))]
            hu = part.on_ct_grid(window.to_hu(unit))
            if part.is_volume:
                found.append((len(hu), self._in_body(part.ct, hu, part.body)))
            else:
                rows = zip(part.ct, hu, part.body, strict=True)
                found += [(1, self._in_body(*row)) for row in rows]
        return _means(found)

    def _paper(self, part: Part, s: int, unit: NDArray[Any], window: HuWindow) -> dict[str, float]:
        truth = window.to_unit(part.slices.hu[s])
        if self.outside == "air":
            truth, unit = (np.where(part.slices.body[s], each, 0.0) for each in (truth, unit))
        return {
            "paper_ssim": metrics.paper_ssim(truth, unit),
            "paper_psnr": metrics.paper_psnr(truth, unit),
        }

    def _in_body(
        self, truth: NDArray[Any], image: NDArray[Any], body: NDArray[np.bool_]
    ) -> dict[str, float]:
        """The metrics of SynthRAD, of one slice or of a volume."""
        found = {
            "mae_hu": metrics.mae(truth, image, body),
            "psnr_2023": metrics.psnr(truth, image, body, self.range_2023),
            "ssim_2023": metrics.ssim(truth, image, body, self.range_2023),
            "psnr_2025": metrics.psnr(truth, image, body, self.range_2025),
            "ms_ssim_2025": metrics.ms_ssim(truth, image, body, self.range_2025),
        }
        for tissue, where in tissues(truth).items():
            found[f"mae_{tissue}_hu"] = metrics.mae(truth, image, where & body)
        return found


def mean_std_hu(case: Case, moments: Sequence[Moments], window: HuWindow) -> float | None:
    """The samples' deviation averaged over the body, on the model grid; None where no voxel lies in it."""
    std = np.concatenate([each.std for each in moments])
    body = np.concatenate([part.slices.body for part in case.parts])
    return float(std[body].mean()) * window.width if body.any() else None


def average(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every metric over several images of the same case."""
    return _means([(1, each) for each in scores])


def _means(found: Iterable[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Metric -> mean of its finite values, each counting as often as it has slices."""
    sums: dict[str, tuple[float, int]] = {}
    for weight, scores in found:
        for name, value in scores.items():
            if math.isfinite(value):
                total, count = sums.get(name, (0.0, 0))
                sums[name] = (total + weight * value, count + weight)
    return {name: total / count for name, (total, count) in sums.items()}
