"""The self-test of a bundle: an input of the network and the output that is right."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from mrct_runtime.arrays import Array
from mrct_runtime.errors import BundleError

GOLDEN: Final = "golden.npz"
GOLDEN_LIMIT: Final = 64 << 20
"""The most bytes that the file, or an array in it, may have."""

_ARRAYS: Final = ("x", "y", "t", "eps")
# zipfile raises RuntimeError for an encrypted entry
_UNREADABLE: Final = (
    *(zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError),
    *(NotImplementedError, RuntimeError),
)


@dataclass(frozen=True, eq=False)
class Golden:
    """An input of the network and the output that training's framework gave: x, y, eps [B, 1, H, W] and t [B]."""

    x: Array
    y: Array
    t: Array
    eps: Array

    def dumps(self) -> bytes:
        """The bytes of golden.npz; the same for the same values."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, x=self.x, y=self.y, t=self.t, eps=self.eps)
        return buffer.getvalue()

    @classmethod
    def loads(cls, content: bytes) -> Golden:
        """The values in golden.npz, or a BundleError; float32 only, no pickles, no shape larger than its data."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found = sorted(info.filename for info in archive.infolist())
                if found != sorted(f"{name}.npy" for name in _ARRAYS):
                    raise BundleError(f"{GOLDEN} holds {found}; x, y, t and eps are needed")
                arrays = [_float32(archive, f"{name}.npy") for name in _ARRAYS]
        except _UNREADABLE as error:
            raise BundleError(f"{GOLDEN} is not a plain archive of float32 arrays") from error
        golden = cls(*arrays)
        if golden.x.ndim != 4 or not golden.x.shape == golden.y.shape == golden.eps.shape:
            raise BundleError(f"{GOLDEN}: x, y and eps differ in shape or are not [B, 1, H, W]")
        if golden.t.shape != golden.x.shape[:1]:
            raise BundleError(f"{GOLDEN}: t has shape {golden.t.shape}, not one value a sample")
        return golden

    def deviation(self, eps: Array) -> float:
        """The largest relative RMS difference of a sample of `eps` [B, 1, H, W]; infinite where it is not finite."""
        difference = np.square(eps.astype(np.float64) - self.eps).mean(axis=(1, 2, 3))
        power = np.square(self.eps.astype(np.float64)).mean(axis=(1, 2, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.sqrt(difference / power).max())
        return ratio if math.isfinite(ratio) else math.inf


def _float32(archive: zipfile.ZipFile, name: str) -> Array:
    """One array of an npz; its header is checked against its bytes before memory is taken."""
    if archive.getinfo(name).file_size > GOLDEN_LIMIT:
        raise ValueError("an array larger than a golden file may be")
    with archive.open(name) as file:
        content = io.BytesIO(file.read(GOLDEN_LIMIT))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError("not the npy format 1.0")
    header = np.lib.format.read_array_header_1_0(content)
    shape, fortran, dtype = header
    data = content.read()
    if dtype != np.dtype("<f4") or fortran or math.prod(shape) * 4 != len(data):
        raise ValueError("not a float32 array in C order")
    return np.frombuffer(data, "<f4").reshape(shape)
