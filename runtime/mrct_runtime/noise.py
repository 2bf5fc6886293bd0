"""Counter-based Gaussian noise: z is a pure function of (seed, series, slice, sample, draw, pixel).

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) makes the words, Box-Muller
the normals. Nothing is drawn in an order, so a sample sees the same noise in any batch, on any number of workers,
and after a restart; more Monte Carlo samples keep the first ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from mrct_runtime.arrays import Array

Normals: TypeAlias = Callable[
    [tuple[int, int], Sequence[tuple[int, int]], int], Callable[[int], Array]
]
"""(key, rows, pixels) -> the function from a draw's number to its normals float32 [B, pixels]."""

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_BLOCKS_A_TILE = 1 << 14  # one tile's words and temporaries stay in a core's cache


def philox4x32(counter: Sequence[Array | int], key: tuple[int, int]) -> list[Array]:
    """Four words (each uint64 below 2^32, broadcast) from a counter of four words and a key of two.

    Equal to Random123's philox4x32-10 word by word.
    """
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = c0 * np.uint64(_MULTIPLIERS[0])
        product1 = c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (product1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            product1 & np.uint64(_LOW),
            (product0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            product0 & np.uint64(_LOW),
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def box_muller(w0: Array, w1: Array) -> tuple[Array, Array]:
    """Two independent standard normals (float64) from two words below 2^32.

    r = sqrt(-2 ln u), u = (w0 + 1/2) 2^-32, at the angle 2 pi (w1 + 1/2) 2^-32. The angle is reduced to a
    quadrant in integers and both coordinates are sines of an angle in (0, pi/2), so neither loses digits near its zero.
    """
    radius = np.sqrt(-2.0 * np.log((w0 + 0.5) * 2.0**-32))
    quadrant = w1 >> np.uint64(30)
    fraction = ((w1 & np.uint64(0x3FFFFFFF)) + 0.5) * 2.0**-30
    rising = radius * np.sin(fraction * (np.pi / 2))
    falling = radius * np.sin((1.0 - fraction) * (np.pi / 2))
    odd = (quadrant & np.uint64(1)).astype(bool)
    along, across = np.where(odd, rising, falling), np.where(odd, falling, rising)
    left = ((quadrant + np.uint64(1)) & np.uint64(2)).astype(bool)
    down = (quadrant & np.uint64(2)).astype(bool)
    return np.where(left, -along, along), np.where(down, -across, across)


def stream_key(seed: int, series: str) -> tuple[int, int]:
    """The Philox key of one series under one seed: two words of SHA-256 over both."""
    digest = hashlib.sha256(f"mrct noise 1|{seed}|{series}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def host_normals(
    key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
) -> Callable[[int], Array]:
    """The draw's number -> standard normals float32 [B, pixels]; row b is for sample rows[b][1] of slice rows[b][0].

    Four pixels are one Philox block, with the counter (block, draw, sample, slice).
    """
    rows, blocks = tuple(rows), -(-pixels // 4)

    def draw_normals(draw: int) -> Array:
        normals = np.empty((len(rows), blocks, 4), np.float32)
        for image, (slice_index, sample) in zip(normals, rows, strict=True):
            for start in range(0, blocks, _BLOCKS_A_TILE):
                tile = image[start : start + _BLOCKS_A_TILE]
                block = np.arange(start, start + len(tile), dtype=np.uint64)
                words = philox4x32((block, draw, sample, slice_index), key)
                tile[:, 0], tile[:, 1] = box_muller(*words[:2])
                tile[:, 2], tile[:, 3] = box_muller(*words[2:])
        return normals.reshape(len(rows), -1)[:, :pixels]

    return draw_normals


class Noise:
    """The noise of a batch: call by call the next z ~ N(0, I), float32 [B, 1, H, W].

    Row b of the batch is Monte Carlo sample `rows[b][1]` of slice `rows[b][0]` (counted along the series' normal).
    `normals` makes it, where the arrays are to live: a device's, by default the host's. `first` skips so many draws.
    `antithetic` has the first draw of samples 1, 3, ... be that of samples 0, 2, ... with its sign changed.
    """

    def __init__(
        self,
        seed: int,
        series: str,
        rows: Sequence[tuple[int, int]],
        shape: tuple[int, int],
        normals: Normals = host_normals,
        first: int = 0,
        *,
        antithetic: bool = False,
    ) -> None:
        key, pixels = stream_key(seed, series), shape[0] * shape[1]
        self._normals = normals(key, rows, pixels)
        self._turned = [row for row, (_, k) in enumerate(rows) if k % 2] if antithetic else []
        if self._turned and first == 0:
            self._of_pairs = normals(key, [(s, k - k % 2) for s, k in rows], pixels)
        self._shape = shape
        self.draws = first
        """The number of the next draw."""

    def __call__(self) -> Array:
        """The next z [B, 1, H, W]."""
        draw, self.draws = self.draws, self.draws + 1
        z = (self._of_pairs if self._turned and draw == 0 else self._normals)(draw)
        if draw == 0:
            for row in self._turned:
                z[row] *= -1
        return z.reshape(-1, 1, *self._shape)
