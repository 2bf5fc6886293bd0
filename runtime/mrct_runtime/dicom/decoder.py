"""The decoder of compressed pixels as the rest sees it: arrays of the size that was asked for, out of a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.child import Child
from mrct_runtime.dicom.decoding import memory_limit
from mrct_runtime.errors import DeviceMemoryError, EngineError

START_S: Final = 120.0
FRAME_S: Final = 60.0
"""The longest that a frame may take; one of 4096 x 4096 pixels takes a second or two."""

_MAKER: Final = "mrct_runtime.dicom.decoding:Decoding"
_TYPES: Final = frozenset({"|u1", "|i1", "<u2", "<i2", ">u2", ">i2", "<u4", "<i4", ">u4", ">i4"})
# A library for linear algebra takes address space for every processor that it finds, and is not needed.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class UndecodedError(Exception):
    """Pixels that were not decoded: why, in words that follow "its pixels cannot be read"."""


class Decoder:
    """One process for all files of a stack, which begins with the first that needs it and ends with the scope.

    It has a limit of memory and of time, and nothing of this process's environment but what it needs to start.
    """

    def __init__(self) -> None:
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.close()

    def frames(
        self, path: Path, frames: Sequence[int], rows: int, columns: int
    ) -> Iterator[NDArray[np.generic]]:
        """Frames [rows, columns] of a file, counted from 0, as they are stored; UndecodedError where that fails."""
        child = self._started()
        try:
            child.ask(
                "open", START_S, path=str(path), frames=list(frames), rows=rows, columns=columns
            )
            for _ in frames:
                told, content = child.ask_bytes("next", FRAME_S, 4 * rows * columns)
                if told is None:
                    return
                yield _array(told, content, (rows, columns))
        except DeviceMemoryError as error:
            most = memory_limit(path.stat().st_size, rows * columns) >> 20
            raise UndecodedError(f": its decoder needs more than {most} MiB") from error
        except EngineError as error:
            # behind a colon stands what libraries said, who may quote patient data
            told = str(error).partition(":")[0]
            raise UndecodedError("" if child.alive else f": its decoder failed, {told}") from error

    def _started(self) -> Child:
        if self._child is None:
            self._child = Child(_MAKER, None, _ONE_THREAD, bare=True)
        return self._child


def _array(told: object, content: bytearray, shape: tuple[int, int]) -> NDArray[np.generic]:
    """The array that a child's answer tells of, whose shape and type are not taken on trust."""
    if not isinstance(told, list) or told[0] != list(shape) or told[1] not in _TYPES:
        raise UndecodedError(": its decoder gave no frame of that size")
    dtype = np.dtype(told[1])
    if len(content) != shape[0] * shape[1] * dtype.itemsize:
        raise UndecodedError(": its decoder gave too few bytes")
    return np.frombuffer(content, dtype).reshape(shape)
