"""What a paired data set is made of, whatever its layout on the disk: subjects, and stacks of MR and CT on one grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.volume import SAME_GRID_MM, Volume

View: TypeAlias = Literal["axial", "coronal", "sagittal"]
VIEWS: Final[tuple[View, ...]] = get_args(View)


@dataclass(frozen=True, eq=False)
class Pair:
    """An MR and a CT in HU, both [S, H, W] on one grid, and the body mask that the data set gives, where it gives one.

    A volume is one axial pair of many slices; single pictures are pairs of one slice. `source` says what was chosen
    among several images, `notes` what was mended.
    """

    mr: Volume
    ct: Volume
    mask: NDArray[np.bool_] | None = None
    view: View = "axial"
    notes: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        mr, ct = self.mr.grid, self.ct.grid
        if not mr.matches(ct, tolerance_mm=SAME_GRID_MM):
            raise InputRejectedError(
                f"the {self.view} MR ({mr}) and CT ({ct}) are on different grids, voxels up to "
                f"{mr.apart_mm(ct):.2g} mm apart; resample them to one grid first"
            )
        if self.mask is not None and self.mask.shape != mr.shape:
            raise InputRejectedError(
                f"the {self.view} body mask {self.mask.shape} does not fit the MR {mr.shape}; resample it first"
            )
        if self.mask is not None and not self.mask.any():
            raise InputRejectedError(
                f"the {self.view} body mask is empty; draw it again or take it out"
            )
        for name, array in (("MR", self.mr.array), ("CT", self.ct.array)):
            _refuse_not_finite(f"{self.view} {name}", array)


def _refuse_not_finite(name: str, array: NDArray[Any]) -> None:
    bad = [s for s, image in enumerate(array) if not np.isfinite(image).all()]
    if bad:
        raise InputRejectedError(
            f"the {name} holds NaN or infinite values in {len(bad)} of {len(array)} slices, "
            f"the first is slice {bad[0] + 1}; leave it out"
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """A patient of a data set: `read` gives the pairs, `files` are those it reads, for a cache to watch."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], tuple[Pair, ...]]
    layout: str = ""
