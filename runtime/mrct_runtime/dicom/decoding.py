"""The decoding of compressed pixels, in the process that `Decoder` starts for it: decoders are C and C++, and meet what strangers sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import RLELossless

from mrct_runtime.dicom.codestream import check_sizes
from mrct_runtime.dicom.gatekeeper import syntax_of
from mrct_runtime.dicom.header import silenced
from mrct_runtime.memory_limit import limit_memory
from mrct_runtime.payload import Payload

_SPARE: Final = 512 << 20
# Whole numbers of four bytes for each pixel, some times over, are what decoders work with.
_BYTES_A_PIXEL: Final = 32
# The file's compressed pixels are held whole, and once more as frames.
_COPIES: Final = 2


def memory_limit(file_bytes: int, pixels: int) -> int:
    """The bytes that the decoding of a file may take, by its size and the pixels of one frame."""
    return _SPARE + _COPIES * file_bytes + _BYTES_A_PIXEL * pixels


class Decoding:
    """The frames of one file after another."""

    def __init__(self, _: None = None) -> None:
        self._frames: Iterator[NDArray[Any]] = iter(())

    def open(self, path: str, frames: list[int], rows: int, columns: int) -> bool:
        """Begins with some frames of a file, counted from 0, of so many pixels; True where memory is limited."""
        limited = limit_memory(memory_limit(Path(path).stat().st_size, rows * columns))
        with silenced():
            check_sizes(Path(path), frames, rows, columns)
        self._frames = self.decoded(Path(path), frames)
        return limited

    def next(self) -> Payload | None:
        """The next frame, its shape and type as NumPy writes it; None behind the last one."""
        with silenced():
            frame = next(self._frames, None)
        if frame is None:
            return None
        frame = np.ascontiguousarray(frame)
        return Payload([list(frame.shape), frame.dtype.str], frame.reshape(-1).view(np.uint8).data)

    def decoded(self, path: Path, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The pixels of the frames as they are stored."""
        # pydicom's own decoder for run lengths, for another one in Rust panics past every handler where data are damaged
        plugin = "pydicom" if syntax_of(path) == RLELossless else ""
        return iter_pixels(path, indices=list(frames), decoding_plugin=plugin)
