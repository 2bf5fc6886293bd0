"""SHA-256 of files and of voxels, read piece by piece and without a copy: a study is large."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.scratch import slices
from mrct_runtime.volume import Volume


def file_sha256(path: Path) -> str:
    """That of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_sha256(array: NDArray[Any], before: bytes = b"") -> str:
    """That of the array's bytes in its own order of axes, after those of `before`."""
    found = hashlib.sha256(before)
    for image in slices(array):
        found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


def voxel_digests(mean_hu: Volume, std_hu: Volume) -> dict[str, str]:
    """Those of mean and deviation in float32 on the MR's grid, by which two runs are compared."""
    return {"mean_hu": array_sha256(mean_hu.array), "std_hu": array_sha256(std_hu.array)}
