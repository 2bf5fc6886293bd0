"""PNG pairs: SUBJECT/{mri,ct,mask}_VIEW.png, and beside the subjects a table of what the CT's grey values mean.

A PNG knows neither HU nor millimetres. The table, `ct_scale_estimate.csv` or `ct_scale.csv`, has a line for every
subject and view with the HU at grey value 255; 0 is -1024 HU. Pixels are 1 mm wide unless a column `pixel_mm` says more.
"""

from __future__ import annotations

import csv
import math
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.dicom.image_file import MAX_PIXELS
from mrct_runtime.errors import InputRejectedError
from mrct_runtime.paired.values import VIEWS, Pair, Subject, View
from mrct_runtime.volume import Grid, Volume

NAME: Final = "PNG pairs"
TABLES: Final = ("ct_scale.csv", "ct_scale_estimate.csv")
BLACK_HU: Final = -1024.0

# Whatever else its name promises is tried by readers of many other kinds.
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# The signature and the first chunk up to the size of the picture.
_START: Final = 24

# (slice, row, column) to (x, y, z): whatever its view, a picture lies like an axial slice.
_AXES: Final = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
_CORNER: Final = np.diag([0.0, 0, 0, 1])


@dataclass(frozen=True)
class Scale:
    """What one CT picture's grey values mean."""

    white_hu: float
    pixel_mm: float

    def __post_init__(self) -> None:
        if not BLACK_HU < self.white_hu < math.inf:
            raise ValueError(f"{self.white_hu} HU at 255")
        if not 0 < self.pixel_mm < math.inf:
            raise ValueError(f"pixels of {self.pixel_mm} mm")


def find(folder: Path) -> list[Subject]:
    """The subjects of a folder in this layout, or none; one picture, MR or CT, makes a subject."""
    pictures = [path for kind in ("mri", "ct") for path in folder.glob(f"*/{kind}_*.png")]
    if not pictures:
        return []
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise InputRejectedError(
            f"{folder.name}: PNG pairs without {' or '.join(TABLES)}: their grey values are no HU; "
            "add the table with the columns subject, view and estimated_HU_at_255"
        )
    scales = read_scales(table)
    return [
        Subject(
            subject.name,
            (*sorted(subject.glob("*.png")), table),
            partial(_read, subject, scales),
            NAME,
        )
        for subject in sorted({path.parent for path in pictures})
    ]


def read_scales(table: Path) -> dict[tuple[str, str], Scale]:
    """(subject, view) -> what its CT's grey values mean."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return {
                (row["subject"], row["view"]): Scale(
                    float(row["estimated_HU_at_255"]), float(row.get("pixel_mm") or 1.0)
                )
                for row in csv.DictReader(file)
            }
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputRejectedError(
            f"{table.name}: needs the columns subject, view and estimated_HU_at_255, with numbers; met {error}"
        ) from error


def _read(folder: Path, scales: dict[tuple[str, str], Scale]) -> tuple[Pair, ...]:
    views = [view for view in VIEWS if any(folder.glob(f"*_{view}.png"))]
    if not views:
        raise InputRejectedError(
            f"has no picture of a known view ({', '.join(VIEWS)}); rename them"
        )
    return tuple(_pair(folder, view, scales.get((folder.name, view))) for view in views)


def _pair(folder: Path, view: View, scale: Scale | None) -> Pair:
    if scale is None:
        raise InputRejectedError(
            f"the table of grey values has no line for the {view} CT; add one or leave the picture out"
        )
    mr, ct = (_grey(folder / f"{kind}_{view}.png", view) for kind in ("mri", "ct"))
    if ct.shape != mr.shape:
        raise InputRejectedError(
            f"the {view} MR has {mr.shape[1:]} pixels, its CT {ct.shape[1:]}; resample them first"
        )
    mask_file = folder / f"mask_{view}.png"
    mask = _grey(mask_file, view) > 127 if mask_file.is_file() else None
    hu = BLACK_HU + ct * np.float32((scale.white_hu - BLACK_HU) / 255)
    grid = Grid(scale.pixel_mm * _AXES + _CORNER, mr.shape)
    return Pair(Volume(mr, grid), Volume(hu, grid), mask, view)


def _grey(path: Path, view: View) -> NDArray[np.float32]:
    """The picture [1, H, W], stored with the axes (x, y), (x, z) or (y, z) of an LPS volume, as it is shown: front or head up."""
    image = _decoded(path)
    if image.ndim != 2 or image.dtype != np.uint8:
        raise InputRejectedError(
            f"{path.name} has {image.dtype} pixels of shape {image.shape}; "
            "8-bit grey values are needed"
        )
    shown = image.T if view == "axial" else np.rot90(image)
    return np.ascontiguousarray(shown[None], dtype=np.float32)


def _is_png(path: Path, start: bytes) -> bool:
    """True for a PNG, by the chunk IHDR that it begins with (ISO 15948, 11.2.1); refused where it claims too many pixels."""
    if start[: len(_SIGNATURE)] != _SIGNATURE or len(start) < _START:
        return False
    columns, rows = struct.unpack_from(">II", start, 16)
    if columns * rows > MAX_PIXELS:
        raise InputRejectedError(
            f"{path.name} claims {rows} x {columns} pixels, more than {MAX_PIXELS}; leave it out"
        )
    return True


def _decoded(path: Path) -> NDArray[Any]:
    from skimage.io import imread

    damaged = f"{path.name} cannot be read as PNG; leave it out"
    try:
        with path.open("rb") as file:
            is_png = _is_png(path, file.read(_START))
        image = np.asarray(imread(path)) if is_png else None
    except FileNotFoundError as error:
        raise InputRejectedError(f"lacks {path.name}; add it") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputRejectedError(damaged) from error
    if image is None:
        raise InputRejectedError(damaged)
    return image
