"""How the MR of a subject looks, in a few numbers, so that one unlike those of a training is noticed.

They are taken of the image as the network sees it: on the model grid, in [0, 1]. They see signal, size and texture, not
anatomy: an image with the same numbers may show something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.intensity import body_mask
from mrct_runtime.volume import Grid, Volume

# So many slices of a subject, evenly spaced, say what all of them say.
_MOST_SLICES: Final = 8
_RIM_MM: Final = 10.0
_EDGE_PIXELS: Final = 1.5


class Feature(NamedTuple):
    """A number of a subject: its name in a sentence, its unit, and the least margin around what training subjects had.

    `relative` margins are shares of the largest value.
    """

    title: str
    unit: str
    margin: float
    relative: bool = False


FEATURES: Final[Mapping[str, Feature]] = MappingProxyType(
    {
        "area_cm2": Feature("body area in a slice", "cm2", 0.2, relative=True),
        "signal_10": Feature("dark tenth of the MR signal", "", 0.05),
        "signal_25": Feature("lower quarter of the MR signal", "", 0.05),
        "signal_50": Feature("median MR signal", "", 0.05),
        "signal_75": Feature("upper quarter of the MR signal", "", 0.05),
        "signal_90": Feature("bright tenth of the MR signal", "", 0.05),
        "rim": Feature("MR signal of the outer 10 mm over that inside", "", 0.1),
        "detail": Feature("change of MR signal from pixel to pixel", "", 0.3, relative=True),
    }
)
"""Every number, in the order of sentences. Signals are in [0, 1], the normalised range."""

Range = tuple[float, float]


class Seen(BaseModel):
    """The least and the largest of every feature over the subjects of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    subjects: Annotated[int, Field(ge=2)]
    ranges: dict[str, Range]

    @model_validator(mode="after")
    def _is_ordered(self) -> Seen:
        for name, (low, high) in self.ranges.items():
            if name not in FEATURES or low > high:
                raise ValueError(f"seen.ranges has {name!r} from {low:g} to {high:g}")
        return self

    @classmethod
    def of(cls, subjects: Sequence[Mapping[str, float]]) -> Seen | None:
        """That of the features of several subjects; None of fewer than two, which span no range."""
        if len(subjects) < 2:
            return None
        ranges = {}
        for name in FEATURES:
            values = [round(each[name], 6) for each in subjects if name in each]
            if values:
                ranges[name] = (min(values), max(values))
        return cls(subjects=len(subjects), ranges=ranges)

    def distance(self, name: str, value: float) -> float:
        """How far a value lies outside the range, in margins: half the range's width, at least the feature's own."""
        low, high = self.ranges[name]
        feature = FEATURES[name]
        least = feature.margin * (high if feature.relative else 1.0)
        outside = max(low - value, value - high, 0.0)
        return outside / max((high - low) / 2, least)


def appearance(mr: NDArray[Any], spacing_mm: float) -> Mapping[str, float]:
    """The features of a subject's slices [S, N, N] in [0, 1], those that exist; none where they show no body.

    The body is found in these slices themselves: a data set's own mask may be a wider one than a study has.
    """
    chosen = np.linspace(0, len(mr) - 1, min(_MOST_SLICES, len(mr))).round().astype(int)
    images = np.asarray(mr[chosen], np.float32)
    grid = Grid(np.diag((spacing_mm, spacing_mm, spacing_mm, 1.0)), images.shape)
    try:
        masks = body_mask(Volume(images, grid))
    except InputRejectedError:
        return {}
    filled = masks.any(axis=(1, 2))
    images, masks = images[filled], masks[filled]
    levels = np.percentile(images[masks], (10, 25, 50, 75, 90))
    names = ("signal_10", "signal_25", "signal_50", "signal_75", "signal_90")
    found = dict(zip(names, map(float, levels), strict=True))
    found["area_cm2"] = float(np.median(masks.sum(axis=(1, 2)))) * (spacing_mm / 10) ** 2
    found |= _rim(images, masks, spacing_mm)
    steps = np.concatenate([_steps(images, masks, axis) for axis in (1, 2)])
    return found | ({"detail": float(steps.mean())} if steps.size else {})


def _rim(images: NDArray[Any], masks: NDArray[np.bool_], spacing_mm: float) -> Mapping[str, float]:
    """Mean signal within 10 mm of the body's edge in a slice, or of the picture's, less the mean further inside.

    The outermost pixel is left out: how much air is in it depends on the scanner's own pixels.
    """
    from scipy import ndimage

    depth = np.stack(
        [ndimage.distance_transform_edt(np.pad(each, 1))[1:-1, 1:-1] for each in masks]
    )
    inner = masks & (depth > _EDGE_PIXELS)
    near = inner & (depth <= _EDGE_PIXELS + _RIM_MM / spacing_mm)
    far = inner & ~near
    if not (near.any() and far.any()):
        return {}
    return {"rim": float(images[near].mean() - images[far].mean())}


def _steps(images: NDArray[Any], masks: NDArray[np.bool_], axis: int) -> NDArray[Any]:
    """|difference| of every pixel of the body and the next along the axis, where that is of the body too."""
    both = np.take(masks, range(1, masks.shape[axis]), axis) & np.take(
        masks, range(masks.shape[axis] - 1), axis
    )
    return np.asarray(np.abs(np.diff(images, axis=axis))[both])
