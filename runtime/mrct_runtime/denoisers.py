"""Wrappers from denoiser to denoiser: what a sampler need not know about."""

from __future__ import annotations

from collections.abc import Callable

from mrct_runtime.arrays import Array, Denoiser, Time


class Counted:
    """The same denoiser; `evaluations` tells how often it was called, `images` with how many images altogether."""

    def __init__(self, denoise: Denoiser) -> None:
        self._denoise = denoise
        self.evaluations = self.images = 0

    def __call__(self, x: Array, t: Time) -> Array:
        """eps(x, t)."""
        self.evaluations += 1
        self.images += len(x)
        return self._denoise(x, t)


def observed(denoise: Denoiser, observe: Callable[[Array, Time], None]) -> Denoiser:
    """The same denoiser; `observe(x, t)` sees every state that is evaluated, for figures of the reverse process."""

    def eps(x: Array, t: Time) -> Array:
        observe(x, t)
        return denoise(x, t)

    return eps
