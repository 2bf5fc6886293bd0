"""Counter-based Gaussian noise: z is a pure function of (seed, series, slice, sample, draw, pixel).

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) makes the words, Box-Muller
the normals. Nothing is drawn in an order, so a sample sees the same noise in any batch, on any number of workers,
and after a restart; more Monte Carlo samples keep the first ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_BLOCKS_A_TILE = 1 << 14  # one tile's words and temporaries stay in a core's cache


def philox4x32(counter: Sequence[Array], key: tuple[int, int], xp: ModuleType = np) -> list[Array]:
    """Four words (each uint64 below 2^32, broadcast) from a counter of four words and a key of two.

    Equal to Random123's philox4x32-10 word by word.
    """
    c0, c1, c2, c3 = (xp.asarray(word, dtype=xp.uint64) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = c0 * xp.uint64(_MULTIPLIERS[0])
        product1 = c2 * xp.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (product1 >> xp.uint64(32)) ^ c1 ^ xp.uint64(k0),
            product1 & xp.uint64(_LOW),
            (product0 >> xp.uint64(32)) ^ c3 ^ xp.uint64(k1),
            product0 & xp.uint64(_LOW),
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def box_muller(w0: Array, w1: Array, xp: ModuleType = np) -> tuple[Array, Array]:
    """Two independent standard normals (float64) from two words below 2^32.

    r = sqrt(-2 ln u), u = (w0 + 1/2) 2^-32, at the angle 2 pi (w1 + 1/2) 2^-32. The angle is reduced to a
    quadrant in integers and both coordinates are sines of an angle in (0, pi/2), so neither loses digits near its zero.
    """
    radius = xp.sqrt(-2.0 * xp.log((w0 + 0.5) * 2.0**-32))
    quadrant = w1 >> xp.uint64(30)
    fraction = ((w1 & xp.uint64(0x3FFFFFFF)) + 0.5) * 2.0**-30
    rising = radius * xp.sin(fraction * (np.pi / 2))
    falling = radius * xp.sin((1.0 - fraction) * (np.pi / 2))
    odd = (quadrant & xp.uint64(1)).astype(bool)
    along, across = xp.where(odd, rising, falling), xp.where(odd, falling, rising)
    left = ((quadrant + xp.uint64(1)) & xp.uint64(2)).astype(bool)
    down = (quadrant & xp.uint64(2)).astype(bool)
    return xp.where(left, -along, along), xp.where(down, -across, across)


def stream_key(seed: int, series: str) -> tuple[int, int]:
    """The Philox key of one series under one seed: two words of SHA-256 over both."""
    digest = hashlib.sha256(f"mrct noise 1|{seed}|{series}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


class Noise:
    """The noise of a batch: call by call the next z ~ N(0, I), float32 [B, 1, H, W].

    Row b of the batch is Monte Carlo sample `rows[b][1]` of slice `rows[b][0]` (counted along the series' normal).
    """

    def __init__(
        self,
        seed: int,
        series: str,
        rows: Sequence[tuple[int, int]],
        shape: tuple[int, int],
        xp: ModuleType = np,
    ) -> None:
        self._key = stream_key(seed, series)
        self._rows = tuple(rows)
        self._shape = shape
        self._xp = xp
        self._draw = 0

    def __call__(self) -> Array:
        """The next z [B, 1, H, W]."""
        draw, self._draw = self._draw, self._draw + 1
        height, width = self._shape
        z: Array = self._xp.empty((len(self._rows), 1, height, width), dtype=self._xp.float32)
        for image, row in zip(z, self._rows, strict=True):
            image[0] = self._image(draw, *row)
        return z

    def _image(self, draw: int, slice_index: int, sample: int) -> Array:
        xp, pixels = self._xp, self._shape[0] * self._shape[1]
        blocks = -(-pixels // 4)
        normals: Array = xp.empty((blocks, 4), dtype=xp.float32)
        for start in range(0, blocks, _BLOCKS_A_TILE):
            stop = min(start + _BLOCKS_A_TILE, blocks)
            counter: list[Any] = [
                xp.arange(start, stop, dtype=xp.uint64),
                draw,
                sample,
                slice_index,
            ]
            w0, w1, w2, w3 = philox4x32(counter, self._key, xp)
            normals[start:stop, 0], normals[start:stop, 1] = box_muller(w0, w1, xp)
            normals[start:stop, 2], normals[start:stop, 3] = box_muller(w2, w3, xp)
        image: Array = normals.reshape(-1)[:pixels].reshape(self._shape)
        return image
