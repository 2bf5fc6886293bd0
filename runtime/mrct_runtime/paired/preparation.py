"""From a pair as it is read to slices as a network sees them: the MR exactly as at inference, the CT on its grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.intensity import AIR_HU, MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.paired.values import Pair
from mrct_runtime.translate import conditioned
from mrct_runtime.volume import Volume


@dataclass(frozen=True)
class Preparation:
    """What prepared slices depend on besides the files."""

    image: Image
    normalisation: MrNormalisation


class Slices(NamedTuple):
    """Slices [S, N, N] on the model grid: MR in [0, 1], CT in HU (not clipped), both float32, and the body mask."""

    mr: NDArray[np.float32]
    hu: NDArray[np.float32]
    body: NDArray[np.bool_]


class Prepared(NamedTuple):
    """A pair's slices with what mrct-infer would find in its MR: the body [S, N, N], and the fraction of it beyond."""

    slices: Slices
    found: NDArray[np.bool_]
    lost: float


def prepare(pair: Pair, preparation: Preparation) -> Slices:
    """The pair's slices on the model grid; the body is the data set's mask, or the one found in the MR."""
    return prepare_as_inference(pair, preparation).slices


def prepare_as_inference(pair: Pair, preparation: Preparation) -> Prepared:
    """The slices of `prepare`, and the body as mrct-infer finds it, whatever mask the data set has."""
    condition, found, lost, _ = conditioned(pair.mr, preparation.normalisation, preparation.image)
    body = found
    grid = condition.grid
    hu = pair.ct.canonical().resample(grid, fill=AIR_HU).array
    if pair.mask is not None:
        given = Volume(pair.mask.astype(np.uint8), pair.mr.grid).canonical()
        body = given.resample(grid, fill=0, order=0).array.astype(bool)
    slices = Slices(condition.array.astype(np.float32), hu.astype(np.float32), body)
    return Prepared(slices, found, lost)


def digest(slices: Slices) -> str:
    """sha256 over the shape and every voxel of MR and CT, by which an evaluation knows a subject of the training."""
    made = hashlib.sha256(repr(slices.mr.shape).encode())
    for array in (slices.mr, slices.hu):
        made.update(np.ascontiguousarray(array).data)
    return made.hexdigest()
