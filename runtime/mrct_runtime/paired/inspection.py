"""What is in a paired data set and what is wrong with it, subject by subject; the worst subject ends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from mrct_runtime.errors import MrctError
from mrct_runtime.intensity import HuWindow, MrNormalisation, body_mask
from mrct_runtime.paired.values import Pair, Subject, View

SENSIBLE: Final = HuWindow()
"""HU that a CT scanner's 12 bits hold; more is metal or another scale, less is padding."""

# Rounding of resampled air is not worth a word.
_ROUNDING = 0.5
_AIR_BELOW, _TISSUE_ABOVE = -500.0, -200.0


@dataclass(frozen=True)
class PairFacts:
    """What a pair holds: voxels, mm and HU; `mask` is whether the data set gives one, `source` what was chosen."""

    view: View
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    lowest_hu: float
    highest_hu: float
    mask: bool
    source: str


@dataclass(frozen=True)
class Inspection:
    """A subject as it was found; `fault` is why it cannot be used, empty where it can."""

    name: str
    layout: str
    pairs: tuple[PairFacts, ...]
    warnings: tuple[str, ...]
    fault: str

    @property
    def verdict(self) -> Literal["ok", "warning", "wrong"]:
        if self.fault:
            return "wrong"
        return "warning" if self.warnings else "ok"

    @property
    def slices(self) -> int:
        return sum(pair.shape[0] for pair in self.pairs)


def inspect(subject: Subject) -> Inspection:
    """The subject read as for training, and its MR held against the normalisation; raises nothing."""
    facts: tuple[PairFacts, ...] = ()
    warnings: tuple[str, ...] = ()
    fault = ""
    try:
        pairs = subject.read()
        facts = tuple(_facts(pair) for pair in pairs)
        warnings = complaints(pairs)
        for pair in pairs:
            MrNormalisation().levels(pair.mr, body_mask(pair.mr))
    except MrctError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001  a library's surprise about one subject is that subject's
        fault = f"cannot be read: {type(error).__name__}"
    return Inspection(subject.name, subject.layout, facts, warnings, fault)


def complaints(pairs: tuple[Pair, ...]) -> tuple[str, ...]:
    """What is odd about pairs that can be used, a line each: what was mended, and HU that no tissue has."""
    return tuple(line for pair in pairs for line in (*pair.notes, *_odd_hu(pair)))


def _odd_hu(pair: Pair) -> tuple[str, ...]:
    hu = pair.ct.array
    low, high = float(hu.min()), float(hu.max())
    lines = []
    if low > _AIR_BELOW or high < _TISSUE_ABOVE:
        missing = "air, which is -1000" if low > _AIR_BELOW else "tissue, which is about 0"
        lines.append(
            f"the {pair.view} CT goes from {low:.0f} to {high:.0f} HU and holds no {missing}: is it in HU?"
        )
    outside = (hu < SENSIBLE.low - _ROUNDING) | (hu > SENSIBLE.high + _ROUNDING)
    count = int(np.count_nonzero(outside))
    if count:
        lines.append(
            f"{count} of {hu.size} voxels of the {pair.view} CT lie outside {SENSIBLE.low:.0f} to "
            f"{SENSIBLE.high:.0f} HU, from {low:.0f} to {high:.0f}; they are cut"
        )
    return tuple(lines)


def _facts(pair: Pair) -> PairFacts:
    slices, rows, columns = pair.mr.grid.shape
    deep, down, right = (round(float(mm), 4) for mm in pair.mr.grid.spacing_mm)
    return PairFacts(
        view=pair.view,
        shape=(slices, rows, columns),
        spacing_mm=(deep, down, right),
        lowest_hu=round(float(pair.ct.array.min()), 1),
        highest_hu=round(float(pair.ct.array.max()), 1),
        mask=pair.mask is not None,
        source=pair.source,
    )
