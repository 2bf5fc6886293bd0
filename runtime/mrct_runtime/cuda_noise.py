"""The noise of noise.py, made on a GPU by noise.cu: one launch for all rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

from mrct_runtime.arrays import Array

_THREADS: Final = 128
_OPTIONS: Final = ("--std=c++17",)  # none that trades digits for speed


def source() -> str:
    """The kernels mrct_normals and mrct_words in CUDA C++."""
    return (files("mrct_runtime") / "noise.cu").read_text()


@cache
def kernel(name: str) -> Any:
    """One of the kernels, compiled for the current GPU where it is first called there."""
    import cupy

    return cupy.RawKernel(source(), name, _OPTIONS)


def gpu_normals(
    key: tuple[int, int], rows: Sequence[tuple[int, int]], pixels: int
) -> Callable[[int], Array]:
    """The draw's number -> standard normals float32 [B, pixels], as `noise.host_normals` to 2 ulp, in the current stream.

    The rows are copied to the GPU here, nothing when noise is drawn.
    """
    import cupy

    placed, blocks = cupy.asarray(np.array(rows, np.uint32)), -(-pixels // 4)

    def draw_normals(draw: int) -> Array:
        normals: Array = cupy.empty((len(rows), pixels), np.float32)
        launch("mrct_normals", normals, placed, blocks, pixels, draw, key)
        return normals

    return draw_normals


def gpu_words(
    key: tuple[int, int], rows: Sequence[tuple[int, int]], blocks: int, draw: int
) -> Array:
    """The words uint32 [B, blocks, 4] behind the normals of 4 x `blocks` pixels."""
    import cupy

    words: Array = cupy.empty((len(rows), blocks, 4), np.uint32)
    placed = cupy.asarray(np.array(rows, np.uint32))
    launch("mrct_words", words, placed, blocks, blocks, draw, key)
    return words


def launch(
    name: str, out: Array, rows: Array, blocks: int, extent: int, draw: int, key: tuple[int, int]
) -> None:
    """One launch over `blocks` Philox blocks of every row; `extent` is what the kernel counts a row in."""
    grid = -(-blocks // _THREADS), len(rows)
    kernel(name)(grid, (_THREADS,), (out, rows, *map(np.uint32, (extent, draw, *key))))
