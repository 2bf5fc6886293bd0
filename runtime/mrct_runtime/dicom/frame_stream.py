"""Frames as a stream of bytes: pydicom writes what it is given as one without holding all of it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from mrct_runtime.scratch import let_go

_FRAMES_AT_ONCE = 16


class Frames(io.BufferedIOBase):
    """The bytes of an array's slices [S, H, W] in the given order, little endian, to be read from any place on."""

    def __init__(self, array: NDArray[Any], order: Sequence[int]) -> None:
        self._array, self._order = array, order
        self._each = array[0].nbytes
        self._size = self._each * len(order)
        self._place = 0
        self._frame, self._content = -1, b""

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
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, so many at most; the rest where no size is given."""
        asked = self._size if size is None or size < 0 else size
        end = min(self._place + asked, self._size)
        parts = []
        while self._place < end:
            frame, within = divmod(self._place, self._each)
            parts.append(self._bytes(frame)[within : within + end - self._place])
            self._place += len(parts[-1])
        return b"".join(parts)

    def _bytes(self, frame: int) -> bytes:
        if frame != self._frame:
            image = self._array[self._order[frame]]
            self._frame = frame
            self._content = image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()
            if frame % _FRAMES_AT_ONCE == 0:
                let_go(self._array)
        return self._content
