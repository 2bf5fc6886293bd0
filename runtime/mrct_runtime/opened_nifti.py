"""A NIfTI file opened within limits: what its header claims is checked before anything of that size is read or inflated."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.volume import MAX_VOXELS

_LONGEST_HEADER: Final = 540
# Before the voxels stand the header and its extensions, which are texts.
_FURTHEST: Final = 64 << 20
_LARGEST: Final = 4 * MAX_VOXELS
# No byte of a deflated stream stands for more than this many (RFC 1951: 258 bytes for two bits).
_INFLATION: Final = 1032
_PIECE: Final = 1 << 20


class Bounded(io.RawIOBase):
    """A stream of a file that is inflated, up to the byte `end` and piece by piece."""

    def __init__(self, stream: gzip.GzipFile, end: int) -> None:
        super().__init__()
        self._stream, self._end = stream, end

    def seekable(self) -> bool:
        """True: what lies between is inflated and passed over."""
        return True

    def read(self, count: int = -1) -> bytes:
        """The next bytes; ValueError where more are asked for than there may be."""
        if not 0 <= count <= self._end - self.tell():
            raise ValueError(f"{count} bytes beyond {self.tell()} of {self._end}")
        return self._stream.read(count)

    def readinto(self, buffer: Any) -> int:
        """The number of bytes that were read into the buffer, all that it holds unless the stream ends."""
        with memoryview(buffer) as view:
            filled = 0
            while filled < len(view):
                piece = self.read(min(_PIECE, len(view) - filled))
                if not piece:
                    break
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
        return filled

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """The place, inflated up to it."""
        if whence != io.SEEK_SET or not 0 <= place <= self._end:
            raise ValueError(f"no byte {place} of {self._end}")
        return self._stream.seek(place)

    def tell(self) -> int:
        """The place of the next byte."""
        return self._stream.tell()


@contextmanager
def opened_nifti(path: Path) -> Iterator[tuple[Any, gzip.GzipFile | None]]:
    """nibabel's image of a file, its voxels not read yet, and the stream that is inflated; None where none is."""
    size = path.stat().st_size
    if not path.name.lower().endswith(".gz"):
        with path.open("rb") as file:
            kind, end = _checked(path, file.read(_LONGEST_HEADER))
        _refuse_short(path, end, size)
        yield kind.from_filename(path), None
        return
    with gzip.open(path) as stream:
        kind, end = _checked(path, stream.read(_LONGEST_HEADER))
        _refuse_short(path, end, _INFLATION * size)
        stream.seek(0)
        yield kind.from_stream(Bounded(stream, end)), stream


def _refuse_short(path: Path, claimed: int, most: int) -> None:
    """Memory is not taken for what cannot be there."""
    if claimed > most:
        raise InputRejectedError(
            f"{path.name} cannot be read as NIfTI: its header claims {claimed} bytes, and it can hold {most}; "
            "export it again"
        )


def _checked(path: Path, start: bytes) -> tuple[Any, int]:
    """nibabel's class for the file, by the header that it begins with, and the byte at which its voxels end."""
    import nibabel

    kind: Any = nibabel.Nifti1Image
    if _LONGEST_HEADER in {int.from_bytes(start[:4], order) for order in ("little", "big")}:
        kind = nibabel.Nifti2Image
    length = kind.header_class.sizeof_hdr
    header = kind.header_class(start[:length], check=False)
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    voxels, offset = math.prod(int(side) for side in shape), float(header.get_data_offset())
    if not 0 < voxels <= MAX_VOXELS or voxels * dtype.itemsize > _LARGEST:
        raise InputRejectedError(
            f"{path.name} claims {shape} voxels of {dtype.itemsize} bytes, not 1 to {MAX_VOXELS} of at most "
            f"{_LARGEST >> 20} MiB; crop or resample it"
        )
    if dtype.kind not in "iuf":
        raise InputRejectedError(f"{path.name} has voxels of the type {dtype}; numbers are needed")
    if not 0 <= offset <= _FURTHEST:
        raise InputRejectedError(
            f"{path.name} claims {offset:g} bytes before its voxels; export it again"
        )
    return kind, int(offset) + voxels * dtype.itemsize
