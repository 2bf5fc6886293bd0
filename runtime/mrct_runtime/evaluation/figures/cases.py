"""The pictures of one slice, and the scales and crop that all its panels share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.evaluation.figures.drawing import Scale, round_up
from mrct_runtime.evaluation.results import Pictures

_PERCENT: Final = 99.0


def by_slice(pictures: Iterable[Pictures]) -> list[tuple[Pictures, ...]]:
    """The pictures of every slice on one grid together, slices and runs in their order."""
    cases: dict[tuple[object, ...], list[Pictures]] = {}
    for one in pictures:
        grid = (one.truth.shape, one.spacing_mm)
        cases.setdefault((one.subject, one.slice, grid), []).append(one)
    return [tuple(case) for case in cases.values()]


def name_of(case: Sequence[Pictures]) -> str:
    """The slice in words."""
    return f"{case[0].subject}, slice {case[0].slice + 1}"


def mae_hu(image: Array, pictures: Pictures) -> float:
    """The mean of |image - truth| over the body [H, W], on the model grid and not clipped."""
    return float(np.abs(image - pictures.truth)[_body(pictures)].mean(dtype=np.float64))


def std_scale(case: Sequence[Pictures]) -> Scale:
    """One scale for the deviations of all runs, in HU."""
    return Scale(0.0, _limit([one.std for one in case], case[0]), "viridis")


def error_scale(images: Iterable[Array], case: Sequence[Pictures]) -> Scale:
    """One scale for the signed errors of all these images, in HU: blue below the truth, white none, red above."""
    high = _limit([np.abs(image - case[0].truth) for image in images], case[0])
    return Scale(-high, high, "RdBu_r")


def _limit(images: Sequence[Array], pictures: Pictures) -> float:
    """The end of a colour bar above 99 % of the body's pixels."""
    body = _body(pictures)
    return round_up(float(np.percentile([image[body] for image in images], _PERCENT)))


def _body(pictures: Pictures) -> Array:
    """The body [H, W]; everything where there is none."""
    return pictures.body if pictures.body.any() else np.ones_like(pictures.body)
