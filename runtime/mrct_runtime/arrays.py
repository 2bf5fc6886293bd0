"""The types at the seams: an array of either backend, a network time, a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A NumPy array, or a CuPy array, which answers to the same operators."""

Time: TypeAlias = "float | Array"
"""A network time: a float that the whole batch shares, or float64 [B] for samplers that step each sample.

Times are the host's on every device: schedules are arithmetic on floats.
"""

Denoiser: TypeAlias = Callable[[Array, Time], Array]
"""eps(x, t) [B, 1, H, W] from x [B, 1, H, W], the condition bound; the result is valid until the next call.

That of a direct network gives x_0 of the condition, whatever x and t are.
"""


class NoiseSource(Protocol):
    """A stream of standard normal arrays."""

    def __call__(self) -> Array:
        """The next z ~ N(0, I) [B, 1, H, W]."""
        ...


def array_namespace(array: Array) -> ModuleType:
    """The module, numpy or cupy, whose functions take the array; CuPy's arrays do not tell it themselves."""
    told = getattr(array, "__array_namespace__", None)
    return import_module(type(array).__module__.partition(".")[0]) if told is None else told()


def on_host(array: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """The array in host memory; of a GPU's it waits for the work before it."""
    return array if isinstance(array, np.ndarray) else array.get()


def per_sample(values: Array) -> Array:
    """[B, 1, 1, 1] from [B], to be multiplied with a batch of images."""
    return values.reshape(-1, 1, 1, 1)


def per_sample_like(x: Array, values: Any) -> Array:
    """[B, 1, 1, 1] from values [B] of the host, where x is."""
    return per_sample(array_namespace(x).asarray(values))
