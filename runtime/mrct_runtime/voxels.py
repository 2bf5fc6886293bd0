"""Digests of a result's voxels, by which two runs are compared."""

from __future__ import annotations

import hashlib

from mrct_runtime.volume import Volume


def voxel_digests(mean_hu: Volume, std_hu: Volume) -> dict[str, str]:
    """sha256 of mean and deviation in float32 on the MR's grid."""
    return {
        name: hashlib.sha256(volume.array.tobytes()).hexdigest()
        for name, volume in (("mean_hu", mean_hu), ("std_hu", std_hu))
    }
