"""Voxels as a stream of bytes: pydicom writes what it is given as one without holding all of it."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.scratch import let_go

_AT_ONCE = 32_000_000


class Voxels(io.BufferedIOBase):
    """The bytes of an array in C order, little endian, to be read from any place on."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        self._bytes = self._array.reshape(-1).view(np.uint8)
        self._place = self._passed = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place of the byte that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """The new place, `offset` from the start, from the present place or from the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._bytes.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, so many at most; the rest where no size is given."""
        end = None if size is None or size < 0 else self._place + size
        found = self._bytes[self._place : end].tobytes()
        self._place += len(found)
        self._passed += len(found)
        if self._passed >= _AT_ONCE:
            let_go(self._array)
            self._passed = 0
        return found
