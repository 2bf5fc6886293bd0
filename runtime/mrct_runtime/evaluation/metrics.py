"""Measures of one image against another: those of the SynthRAD challenges in a mask, those of the paper on whole slices.

Images and masks have any number of axes, two for a slice and three for a volume. Everything is float64. NaN stands
for what does not exist: no voxel to average over, an image smaller than the window.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]

WINDOW: Final = 7
"""Pixels along each axis of the window of SSIM and MS-SSIM, all of the same weight."""

LEVELS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents of MS-SSIM, the finest level first (Wang et al. 2003, section 3.2)."""

_K1, _K2 = 0.01, 0.03
_BORDER = WINDOW // 2
# Five levels leave a side of 97 with seven pixels, one window.
_LEAST_SIDE = 97


class HuRange(NamedTuple):
    """Where PSNR and the similarities cut images off, HU; its width is their data range."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


SYNTHRAD_2023: Final = HuRange(-1024.0, 3000.0)
SYNTHRAD_2025: Final = HuRange(-1024.0, 3071.0)
"""That of the evaluation that scored the challenge; the one published with its metrics ended at 3000."""


def mae(truth: Image, image: Image, mask: Mask) -> float:
    """mean |truth - image| over the mask, nothing clipped."""
    return float(np.abs(_float(truth)[mask] - _float(image)[mask]).mean()) if mask.any() else np.nan


def psnr(truth: Image, image: Image, mask: Mask, limits: HuRange) -> float:
    """10 log10(width^2 / mean (truth - image)^2) over the mask, both clipped to the range; inf where they agree."""
    if not mask.any():
        return np.nan
    low, high = limits
    difference = _float(truth)[mask].clip(low, high) - _float(image)[mask].clip(low, high)
    error = float(np.square(difference).mean())
    return 10 * math.log10(limits.width**2 / error) if error else math.inf


def ssim(truth: Image, image: Image, mask: Mask, limits: HuRange) -> float:
    """The structural similarity averaged over the mask, as SynthRAD2023 has it (Wang et al. 2004, equation 13).

    Outside the mask both are the range's lower end. Half a window at every border is left out.
    """
    if min(truth.shape) < WINDOW:
        return np.nan
    x, y = (_masked(each, mask, limits) for each in (truth, image))
    luminance, contrast, structure = _similarities(x, y, limits.width)
    return _masked_mean(luminance * contrast * structure, mask)


def ms_ssim(truth: Image, image: Image, mask: Mask, limits: HuRange) -> float:
    """prod_j mean over the mask of (l c s)^w_j, over five levels of half the size each, as SynthRAD2025 has it.

    Wang et al. (2003, equation 7) take l at the coarsest level only. Here, as there in the challenge's program, it is
    at every level; l, c and s are at least 0; a side under 97 is first padded with its border.
    """
    missing = [max(0, _LEAST_SIDE - side) for side in truth.shape]
    around = [(n // 2, n - n // 2) for n in missing]
    x, y = (np.pad(_masked(each, mask, limits), around, mode="edge") for each in (truth, image))
    mask = np.pad(mask, around, mode="edge")
    halved = (slice(None, None, 2),) * truth.ndim
    product = 1.0
    for weight in LEVELS:
        luminance, contrast, structure = (
            part.clip(0) for part in _similarities(x, y, limits.width)
        )
        similarity = _masked_mean((luminance * contrast * structure) ** weight, mask)
        product *= min(max(similarity, 0.0), 1.0) if math.isfinite(similarity) else np.nan
        x, y = (ndimage.uniform_filter(each, 2, mode="constant")[halved] for each in (x, y))
        mask = mask[halved]
    return product


def paper_ssim(truth: Image, image: Image) -> float:
    """The mean structural similarity of two images in [0, 1]: 7 x 7 uniform window, data range 1, both clipped."""
    if min(truth.shape) < WINDOW:
        return np.nan
    luminance, contrast, structure = _similarities(_unit(truth), _unit(image), 1.0)
    return _masked_mean(luminance * contrast * structure, np.ones(truth.shape, bool))


def paper_psnr(truth: Image, image: Image) -> float:
    """-10 log10 mean (truth - image)^2 of two images in [0, 1], both clipped; inf where they agree."""
    error = float(np.square(_unit(truth) - _unit(image)).mean())
    return -10 * math.log10(error) if error else math.inf


def _similarities(x: Image, y: Image, width: float) -> tuple[Image, Image, Image]:
    """Luminance, contrast and structure of every window (Wang et al. 2004, equations 6, 9 and 10), sample covariances."""

    def average(image: Image) -> Image:
        return np.asarray(ndimage.uniform_filter(image, WINDOW))

    pixels = WINDOW**x.ndim
    sample = pixels / (pixels - 1)
    mean_x, mean_y = average(x), average(y)
    var_x = sample * (average(x * x) - mean_x**2).clip(0)
    var_y = sample * (average(y * y) - mean_y**2).clip(0)
    covariance = sample * (average(x * y) - mean_x * mean_y)
    deviations = np.sqrt(var_x * var_y)
    c1, c2 = (_K1 * width) ** 2, (_K2 * width) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * deviations + c2) / (var_x + var_y + c2)
    structure = (covariance + c2 / 2) / (deviations + c2 / 2)
    return luminance, contrast, structure


def _masked_mean(image: Image, mask: Mask) -> float:
    """The mean over the mask without half a window at the borders, whose windows reach beyond the image."""
    inner = (slice(_BORDER, -_BORDER),) * image.ndim
    inside = image[inner][mask[inner]]
    return float(inside.mean()) if inside.size else np.nan


def _masked(image: Image, mask: Mask, limits: HuRange) -> Image:
    """The image clipped to the range, from 0 to its width; 0 outside the mask."""
    return np.where(mask, _float(image).clip(*limits) - limits.low, 0.0)


def _unit(image: Image) -> Image:
    return _float(image).clip(0.0, 1.0)


def _float(image: Image) -> NDArray[np.float64]:
    return np.asarray(image, np.float64)
