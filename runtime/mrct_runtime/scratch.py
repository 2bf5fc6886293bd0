"""Arrays of the size of a study: in memory, or in nameless files of a folder, of which memory holds what is looked at.

The system may take the memory of such a file back at any time, and slices let go of it as they are passed; the files go
with their arrays, and with a process that is killed.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrct_runtime.errors import OutputError

_MEGABYTE: Final = 1_000_000
_AT_ONCE: Final = 32 * _MEGABYTE
"""So much of a mapped array is looked at before its memory is let go."""
_SLICES_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Scratch:
    """Where large arrays lie: in the folder's file system, in memory where it is None. Smaller ones are in memory always."""

    folder: Path | None = None
    least_bytes: int = 64 * _MEGABYTE

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array to be filled; OutputError where the disk has no room for it."""
        if self.folder is None or not self.bytes_on_disk(shape, dtype):
            return np.empty(shape, dtype)
        content = _mapped(self.folder, self.bytes_on_disk(shape, dtype))
        return np.frombuffer(content, dtype).reshape(shape)

    def bytes_on_disk(self, shape: tuple[int, ...], dtype: DTypeLike) -> int:
        """What such an array takes of the disk."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return size if self.folder is not None and size >= max(self.least_bytes, 1) else 0


IN_MEMORY: Final = Scratch()


def slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Every slice of an array [S, ...], in order; a mapped array lets go of its memory on the way and at the end."""
    passed = 0
    for image in array:
        yield image
        passed += image.nbytes
        if passed >= _AT_ONCE:
            let_go(array)
            passed = 0
    let_go(array)


def let_go(*arrays: NDArray[Any]) -> None:
    """Gives the memory of arrays back that lie in files, where their content stays; nothing happens to others."""
    for array in arrays:
        owner: object = array
        while isinstance(owner, np.ndarray | memoryview):
            owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
        if isinstance(owner, mmap.mmap):
            owner.madvise(mmap.MADV_DONTNEED)


def let_go_at_times(count: int, *arrays: NDArray[Any]) -> None:
    """`let_go` at every sixteenth slice, for a loop that has come to slice `count` and goes through several arrays."""
    if count % _SLICES_AT_ONCE == 0:
        let_go(*arrays)


def _mapped(folder: Path, size: int) -> mmap.mmap:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        free = shutil.disk_usage(folder).free
        raise OutputError(
            f"{folder}: {size / _MEGABYTE:.0f} MB are needed for what memory is not to hold and "
            f"{free / _MEGABYTE:.0f} MB free ({reason}); name an output folder on another disk"
        ) from error


def _allocate(descriptor: int, size: int) -> None:
    """Takes the blocks now: a full disk that shows only when a page is written would kill the process."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        allocate(descriptor, 0, size)
        return
    # macOS has no such call
    for start in range(0, size, _AT_ONCE):
        os.pwrite(descriptor, bytes(min(_AT_ONCE, size - start)), start)
