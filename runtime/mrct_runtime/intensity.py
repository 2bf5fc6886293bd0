"""Intensities in and out of the network's [0, 1]: MR by percentiles inside the body, CT by a fixed HU window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import InputRejectedError, UsageError
from mrct_runtime.percentiles import percentile, percentiles
from mrct_runtime.scratch import IN_MEMORY, Scratch, slices
from mrct_runtime.volume import Volume

# The blur that levels noise and texture before air and body are told apart.
MASK_SMOOTHING_MM = 2.0
AIR_HU: Final = -1024.0


@dataclass(frozen=True)
class HuWindow:
    """The Hounsfield units that the network's 0 and 1 stand for; the default is the 12-bit CT range."""

    low: float = -1024.0
    high: float = 3071.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise UsageError(f"a HU window needs finite low < high, not {self.low} and {self.high}")

    @property
    def width(self) -> float:
        return self.high - self.low

    def to_unit(self, hu: NDArray[Any]) -> NDArray[np.float32]:
        """(hu - low) / width, float32 of the same shape; not clipped."""
        return np.asarray((np.asarray(hu, np.float64) - self.low) / self.width, dtype=np.float32)

    def to_hu(self, unit: NDArray[Any]) -> NDArray[Any]:
        """low + width * unit in the input's floating type; not clipped. Whole HU come back by rounding."""
        return np.asarray(unit * self.width + self.low)

    def clip(self, hu: NDArray[Any]) -> NDArray[Any]:
        """HU held inside [low, high], same shape and type."""
        return np.asarray(np.clip(hu, self.low, self.high))


@dataclass(frozen=True)
class MrLevels:
    """The signal values of one study that become 0 and 1."""

    low: float
    high: float

    def to_unit(self, signal: NDArray[Any]) -> NDArray[np.float32]:
        """(signal - low) / (high - low) clipped to [0, 1], float32 of the same shape."""
        unit = (np.asarray(signal, np.float64) - self.low) / (self.high - self.low)
        return np.clip(unit, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class MrNormalisation:
    """MR signal has no unit: percentiles of the voxels inside the body become 0 and 1."""

    low_percentile: float = 0.5
    high_percentile: float = 99.5
    bias_correction: Literal["none", "n4"] = "none"
    """"n4" removes slow changes of the signal first (Tustison et al. 2010), which needs SimpleITK."""

    def __post_init__(self) -> None:
        if self.bias_correction not in {"none", "n4"}:
            raise UsageError(f"bias_correction must be none or n4, got {self.bias_correction!r}")
        if not 0.0 <= self.low_percentile < self.high_percentile <= 100.0:
            raise UsageError(
                "MR normalisation needs percentiles 0 <= low < high <= 100, "
                f"not {self.low_percentile} and {self.high_percentile}"
            )

    def levels(self, mr: Volume, mask: NDArray[np.bool_]) -> MrLevels:
        """The two percentiles of the signal inside the mask [S, H, W]."""
        if mask.shape != mr.array.shape:
            raise InputRejectedError(f"a mask {mask.shape} does not fit an MR {mr.array.shape}")
        if not mask.any():
            raise InputRejectedError("the body mask is empty; the MR shows no body to normalise by")
        low, high = percentiles(
            lambda: _inside(mr.array, mask), (self.low_percentile, self.high_percentile)
        )
        if not low < high:
            raise InputRejectedError(
                f"the MR's signal is {low:g} nearly everywhere inside the body; it holds no image"
            )
        return MrLevels(float(low), float(high))

    def normalise(
        self, mr: Volume, mask: NDArray[np.bool_] | None = None, scratch: Scratch = IN_MEMORY
    ) -> Volume:
        """The MR in [0, 1], float32 [S, H, W], its bias field taken out first where that is asked for.

        Without a mask it goes by its own body mask. The correction of a bias field has the whole of it in memory.
        """
        inside = body_mask(mr, scratch) if mask is None else mask
        levels = self.levels(mr, inside)
        if self.bias_correction == "n4":
            # only this needs SimpleITK
            from mrct_runtime.bias import corrected

            mr = corrected(mr, inside)
            levels = self.levels(mr, inside)
        unit = scratch.empty(mr.array.shape, np.float32)
        for image, found in zip(slices(mr.array), slices(unit), strict=True):
            found[...] = levels.to_unit(image)
        return Volume(unit, mr.grid)


def body_mask(mr: Volume, scratch: Scratch = IN_MEMORY) -> NDArray[np.bool_]:
    """True [S, H, W] inside the body: smoothed, split by Otsu (1979), the largest part, holes filled per slice.

    A field of view inside the body, as prostate protocols have it, has no air to be split off; there it is True throughout.
    """
    from scipy import ndimage

    signal = mr.array.astype(np.float32, copy=False)
    lost = sum(np.count_nonzero(~np.isfinite(image)) for image in slices(signal))
    if lost:
        raise InputRejectedError(f"the MR holds {lost} voxels that are not numbers")
    low, high = _extremes(slices(signal))
    if not high > max(float(low), 0.0):
        raise InputRejectedError(f"the MR is {high:g} everywhere; it holds no image")
    bright = _brighter_than_air(_smoothed(signal, mr.grid.spacing_mm, scratch), scratch)
    if not _surrounded_by_air(bright):
        bright[...] = True
        return bright
    _keep_largest(bright, scratch)
    for part in slices(bright):
        part[...] = ndimage.binary_fill_holes(part)
    return bright


def _smoothed(
    signal: NDArray[np.float32], spacing_mm: NDArray[np.float64], scratch: Scratch
) -> NDArray[np.float32]:
    """The signal blurred within its slices."""
    from scipy import ndimage

    pixels = MASK_SMOOTHING_MM / spacing_mm[1:]
    smooth = scratch.empty(signal.shape, np.float32)
    for image, blurred in zip(slices(signal), slices(smooth), strict=True):
        ndimage.gaussian_filter(image, pixels, output=blurred)
    return smooth


def _brighter_than_air(smooth: NDArray[np.float32], scratch: Scratch) -> NDArray[np.bool_]:
    """Otsu's split of the logarithm: muscle is as far below fat as air is below muscle, but by ratio, not difference."""
    from skimage.filters import threshold_otsu

    # The floor keeps exact zeros of a blanked background from stretching the logarithm.
    floor = 0.02 * float(percentile(lambda: slices(smooth), 99.0)) + np.finfo(np.float32).tiny

    def logarithms() -> Iterator[NDArray[np.float32]]:
        return (np.log(np.maximum(image, 0.0) + floor) for image in slices(smooth))

    low, high = _extremes(logarithms())
    if low == high:
        threshold = low
    else:
        # in float32, as the values are, which decides into which bin one at an edge falls
        ends = cast("tuple[float, float]", (low, high))
        counted = [np.histogram(image, 256, ends) for image in logarithms()]
        edges = counted[0][1]
        counts = np.sum([count for count, _ in counted], axis=0)
        threshold = threshold_otsu(hist=(counts, (edges[:-1] + edges[1:]) / 2.0))  # type: ignore[no-untyped-call]
    bright = scratch.empty(smooth.shape, bool)
    for logarithm, found in zip(logarithms(), slices(bright), strict=True):
        found[...] = logarithm > threshold
    return bright


def _extremes(parts: Iterable[NDArray[np.float32]]) -> tuple[np.float32, np.float32]:
    """The least and the largest of all values."""
    found = np.array([(part.min(), part.max()) for part in parts])
    return found[:, 0].min(), found[:, 1].max()


def _keep_largest(bright: NDArray[np.bool_], scratch: Scratch) -> None:
    """Leaves of the parts of a mask that hang together the largest, the first of several."""
    from scipy import ndimage

    parts = scratch.empty(bright.shape, np.int32)
    count = ndimage.label(bright, output=parts)
    if count < 2:
        return
    sizes = sum(np.bincount(image.ravel(), minlength=count + 1) for image in slices(parts))
    largest = 1 + np.argmax(np.asarray(sizes)[1:])
    for image, part in zip(slices(parts), slices(bright), strict=True):
        part[...] = image == largest


def _inside(array: NDArray[Any], mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    """The values in the mask, slice by slice."""
    for image, inside in zip(slices(array), slices(mask), strict=True):
        yield image[inside].astype(np.float32, copy=False)


def _surrounded_by_air(bright: NDArray[np.bool_]) -> bool:
    """True where nearly all of the four corners of the slices is dark: a body is round, its picture is not."""
    rows, columns = (max(2, n // 12) for n in bright.shape[1:])
    corners = [
        bright[:, y, x]
        for y in (slice(None, rows), slice(-rows, None))
        for x in (slice(None, columns), slice(-columns, None))
    ]
    return float(np.mean([corner.mean() for corner in corners])) < 0.1
