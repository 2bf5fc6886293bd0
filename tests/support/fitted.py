"""A recalibration made up for tests."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from mrct_runtime.evaluation.recalibration import WHOLE, Recalibration, Scale
from mrct_runtime.samplers import sampler

PRIOR_MEAN = 0.25
"""That of the tiny bundle."""


def of_scale(scale: Scale) -> Recalibration:
    """For ten samples of a sampler without options: this scale in the whole body."""
    return Recalibration(
        options={},
        mc=10,
        prior_mean=0.0,
        scales={WHOLE: scale},
        data="none",
        subjects=1,
        subjects_sha256=(),
        slices=1,
        coverage={},
    )


def recalibration(name: str, *, mc: int, floor_hu: float = 0.0, **options: Any) -> Recalibration:
    """For a sampler with these options: twice the deviation, over a floor."""
    return Recalibration(
        options=asdict(cast("Any", sampler(name, options))),
        mc=mc,
        prior_mean=PRIOR_MEAN,
        scales={WHOLE: Scale(factor=2.0, floor_hu=floor_hu)},
        data="nobody",
        subjects=5,
        subjects_sha256=(),
        slices=50,
        coverage={"0.95": (0.6, 0.95)},
    )
