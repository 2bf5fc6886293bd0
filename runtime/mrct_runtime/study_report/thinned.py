"""Some of a volume's voxels in the place of all of them: a percentile for a picture needs no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.scratch import slices

_MOST: Final = 1_000_000


class Thinned(NamedTuple):
    """Every n-th of `size` values, a million of them at most: [N]."""

    values: NDArray[Any]
    size: int

    def percentile(self, percent: float) -> float:
        """That of the values, 0 of none."""
        return float(np.percentile(self.values, percent)) if self.size else 0.0


def thinned(array: NDArray[Any], masks: Callable[[], Iterable[NDArray[np.bool_]]]) -> Thinned:
    """Of an array [S, H, W] its values in the masks [H, W] of its slices, which are asked for twice."""
    size = sum(int(np.count_nonzero(mask)) for mask in masks())
    every = size // _MOST + 1
    taken, skip = [], 0
    for image, mask in zip(slices(array), masks(), strict=True):
        values = image[mask]
        taken.append(values[skip::every])
        skip = (skip - values.size) % every
    return Thinned(np.concatenate(taken), size)
