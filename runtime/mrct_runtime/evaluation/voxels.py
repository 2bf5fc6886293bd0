"""From a subject's samples to the voxels by which their deviation is judged, on the grid that users are given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from mrct_runtime.bundle import Bundle
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.calibration import Voxels, calibration, recalibrated
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.intensity import HuWindow
from mrct_runtime.synthesis import Moments

MOST_VOXELS: Final = 20_000
"""Of one subject, drawn at random where its body has more: subjects are few, and neighbours say the same."""


def body_voxels(
    case: Case, moments: Sequence[Moments], window: HuWindow, *, most: int = MOST_VOXELS
) -> Voxels:
    """The body's mean, deviation and error of a case on the CT's own grid, brought there as mrct-infer does.

    The body is the one that mrct-infer finds: a recalibration is fitted and judged where it is applied.
    """
    parts = [_part(part, each, window) for part, each in zip(case.parts, moments, strict=True)]
    found = Voxels.together(parts)
    if len(found) <= most:
        return found
    # by the name, so that every run of the subject is judged at the same voxels
    rng = np.random.default_rng(list(case.name.encode()))
    return found.where(np.sort(rng.choice(len(found), most, replace=False)))


def worth(
    subjects: Sequence[Voxels], n: int, recalibration: Recalibration | None, bootstrap: Bootstrap
) -> dict[str, Any]:
    """What a report says of the deviation, in JSON's types: `raw`, and `recalibrated` where a recalibration serves."""
    found: dict[str, Any] = {"raw": asdict(calibration(subjects, n, bootstrap))}
    if recalibration is not None:
        applied = [recalibrated(each, recalibration) for each in subjects]
        found["recalibrated"] = asdict(calibration(applied, n, bootstrap))
    return found


def recalibration_of(bundle: Bundle, contestant: Contestant) -> Recalibration | None:
    """The one that the bundle has for this sampler, where it was fitted for this very sampling."""
    stored = bundle.manifest.uncertainty.get(contestant.settings.sampler)
    if stored is None:
        return None
    serves = stored.serves(contestant.options, contestant.mc, contestant.prior_mean)
    return stored if serves else None


def _part(part: Part, moments: Moments, window: HuWindow) -> Voxels:
    mean = part.on_ct_grid(window.to_hu(np.clip(moments.mean, 0.0, 1.0)))
    std = part.on_ct_grid(moments.std * window.width, fill=0.0)
    chosen = part.recalibrated
    return Voxels(
        mean[chosen].astype(np.float32),
        std[chosen].astype(np.float32),
        (part.ct[chosen] - mean[chosen]).astype(np.float32),
    )
