"""A file's bytes from any place on, a piece at a time: what lies between two places that are looked at is not read."""

from __future__ import annotations

from typing import BinaryIO, Final

_FIRST: Final = 1 << 14
_LARGEST: Final = 1 << 18


class Window:
    """The piece `buffer` of a file, which begins at its byte `base`; `size` is that of the whole file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._length = file, _FIRST
        self.size = size
        self.base, self.buffer = 0, b""

    def reach(self, at: int, needed: int) -> int:
        """The place in `buffer` of the file's byte `at`, with `needed` more behind it unless the file ends before."""
        place = at - self.base
        if place < 0 or place + needed > len(self.buffer):
            self._file.seek(at)
            self.base, self.buffer = at, self._file.read(self._length)
            # headers are short, and what is long is read in few pieces
            self._length = min(2 * self._length, _LARGEST)
            return 0
        return place
