"""The MR slices that a network is audited with: generated pelves always, and slices of a given data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import MrctError, NoInputError
from mrct_runtime.paired import Pair, Preparation, Slices, find_subjects, prepare
from mrct_runtime.volume import Grid, Volume
from mrct_train.phantom import GridSpec, generate_subject

MOST_PIXELS: Final = 128
"""A side of the slices, which are cut to it around their middle: a UNet's activations do not depend on the image's size."""

_SEED: Final = 4242
_SUBJECTS: Final = (1, 2)
_MOST_OF_DATA: Final = 2


@dataclass(frozen=True, eq=False)
class AuditSlices:
    """MR slices [S, N, N] in [0, 1], the body in them, and in words where they are from."""

    mr: NDArray[np.float32]
    body: NDArray[np.bool_]
    source: str


def audit_slices(preparation: Preparation, data: Path | None = None) -> AuditSlices:
    """A slice of each of two generated pelves, and of each of the first two subjects of `data`, on the model grid."""
    found = [_middle(prepare(_phantom(number, preparation), preparation)) for number in _SUBJECTS]
    source = f"{len(found)} slices of generated pelves"
    if data is not None:
        given = list(_of_data(data, preparation))
        found += given
        source += f", {len(given)} of {data.resolve().name}"
    side = min(MOST_PIXELS, preparation.image.size)
    side -= side % preparation.image.multiple
    side = max(side, preparation.image.multiple)
    cut = slice((preparation.image.size - side) // 2, (preparation.image.size - side) // 2 + side)
    mr = np.stack([each.mr[0, cut, cut] for each in found])
    body = np.stack([each.body[0, cut, cut] for each in found])
    if not body.any(axis=(1, 2)).all():
        raise NoInputError(
            "a slice for the audit of half precision shows no body; give other data by --audit"
        )
    return AuditSlices(mr, body, source)


def _phantom(number: int, preparation: Preparation) -> Pair:
    image = preparation.image
    made = generate_subject(
        _SEED,
        number,
        GridSpec(image.size, image.spacing_mm, slices=3, slice_spacing=6, slice_thickness=6),
    )
    grid = Grid(made.affine, made.mr.shape)
    mr, ct = (Volume(array.astype(np.float32), grid) for array in (made.mr, made.ct))
    return Pair(mr, ct)


def _of_data(data: Path, preparation: Preparation) -> Iterator[Slices]:
    for subject in find_subjects(data)[:_MOST_OF_DATA]:
        try:
            yield _middle(prepare(subject.read()[0], preparation))
        except MrctError as error:
            raise type(error)(f"audit data, {subject.name}: {error}") from error


def _middle(slices: Slices) -> Slices:
    """The slice that shows the most body."""
    k = int(slices.body.sum(axis=(1, 2)).argmax())
    return Slices(slices.mr[k : k + 1], slices.hu[k : k + 1], slices.body[k : k + 1])
