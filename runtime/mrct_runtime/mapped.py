"""Arrays in files, mapped into memory when they are looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mapped(path: Path, *, alone: bool = True) -> NDArray[Any]:
    """The array of an npy file, read only; ValueError where that is none, or not as long as its header says.

    Where the array is not `alone`, others may follow it in the file.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in {(1, 0), (2, 0)}:
            raise ValueError(f"npy format {version}")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        start = file.tell()
    # as Python's integers, which do not overflow
    rest = path.stat().st_size - start - math.prod(shape) * dtype.itemsize
    if dtype.hasobject or rest < 0 or (alone and rest):
        raise ValueError(f"not an array of {shape} plain numbers")
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
