"""The types at the seams: an array of either backend, a network time, a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A NumPy array, or a CuPy array, which answers to the same operators."""

Time: TypeAlias = "float | Array"
"""A network time: a float that the whole batch shares, or float64 [B] for samplers that step each sample."""

Denoiser: TypeAlias = Callable[[Array, Time], Array]
"""eps(x, t) [B, 1, H, W] from x [B, 1, H, W], the condition bound; the result is valid until the next call.

That of a direct network gives x_0 of the condition, whatever x and t are.
"""


class NoiseSource(Protocol):
    """A stream of standard normal arrays."""

    def __call__(self) -> Array:
        """The next z ~ N(0, I) [B, 1, H, W]."""
        ...


def per_sample(values: Array) -> Array:
    """[B, 1, 1, 1] from [B], to be multiplied with a batch of images."""
    return values.reshape(-1, 1, 1, 1)
