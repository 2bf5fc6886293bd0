"""Percentiles of more values than memory should hold at once, equal to NumPy's to the last bit.

The ranks that a percentile lies between are found by counting: first by the upper 16 bits of every value, then, where
those are a wanted rank's, by the lower 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Parts: TypeAlias = Callable[[], Iterable[NDArray[np.float32]]]
"""All values, float32 of any shape and none of them NaN, part after part; asked for twice."""

_SIGN: Final = np.uint32(1 << 31)
_HALF: Final = 1 << 16


def percentile(parts: Parts, percent: float) -> np.float32:
    """np.percentile(values, percent) of a float, in float32."""
    ((low, high, share),) = _neighbours(parts, [percent])
    return np.float32(_between(low, high, share))


def percentiles(parts: Parts, percents: Sequence[float]) -> NDArray[np.float64]:
    """np.percentile(values, percents), in float64."""
    found = _neighbours(parts, percents)
    return np.array([_between(low, high, np.float64(share)) for low, high, share in found])


def _between(low: np.float32, high: np.float32, share: float) -> np.floating:
    """NumPy's own interpolation, from whichever end is nearer; the type of the share decides that of the result."""
    if share >= 0.5:
        return high - (high - low) * (1 - share)
    return low + (high - low) * share


def _neighbours(
    parts: Parts, percents: Sequence[float]
) -> list[tuple[np.float32, np.float32, float]]:
    """The values before and after each percentile's place among the sorted ones, and how far between them it lies."""
    upper = sum((_counts(_keys(part) >> 16) for part in parts()), np.zeros(_HALF, np.int64))
    last = int(upper.sum()) - 1
    places = [last * (percent / 100) for percent in percents]
    before = [min(math.floor(place), last) for place in places]
    after = [min(rank + 1, last) for rank in before]
    values = _of_ranks(parts, upper, sorted({*before, *after}))
    return [
        (values[low], values[high], place - low)
        for low, high, place in zip(before, after, places, strict=True)
    ]


def _of_ranks(
    parts: Parts, upper: NDArray[np.int64], ranks: Sequence[int]
) -> dict[int, np.float32]:
    """The values that have these ranks, from 0, among the sorted ones; `upper` counts their upper halves."""
    ends = np.cumsum(upper)
    halves = {rank: int(np.searchsorted(ends, rank, side="right")) for rank in ranks}
    lower = {half: np.zeros(_HALF, np.int64) for half in halves.values()}
    for part in parts():
        keys = _keys(part)
        for half in lower:
            lower[half] += _counts(keys[keys >> 16 == half] & (_HALF - 1))
    found = {}
    for rank, half in halves.items():
        among = rank - int(ends[half] - upper[half])
        rest = int(np.searchsorted(np.cumsum(lower[half]), among, side="right"))
        found[rank] = _value(half * _HALF + rest)
    return found


def _counts(halves: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.bincount(halves, minlength=_HALF)


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers [N] in the order of the values: IEEE 754's bits, those of negative values turned round."""
    bits = np.ascontiguousarray(values, np.float32).ravel().view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(key: int) -> np.float32:
    bits = np.uint32(key)
    return np.float32((bits ^ _SIGN if bits & _SIGN else ~bits).view(np.float32))
