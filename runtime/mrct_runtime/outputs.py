"""What is written besides the CT series, the map, NIfTI and pictures, and how: the choices of a run's output."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

from mrct_runtime.contours import body
from mrct_runtime.dicom.deidentifying import deidentified
from mrct_runtime.dicom.derived import Derivation
from mrct_runtime.dicom.page import write_pages
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.respacing import respaced, respaced_grid
from mrct_runtime.dicom.secondary_capture import write_maps
from mrct_runtime.dicom.segmentation import write_segmentation
from mrct_runtime.dicom.structure_set import write_structure_set
from mrct_runtime.dicom.writing import WrittenSeries
from mrct_runtime.errors import UsageError
from mrct_runtime.intensity import AIR_HU
from mrct_runtime.preview import pictures
from mrct_runtime.scratch import IN_MEMORY, Scratch
from mrct_runtime.volume import Grid

if TYPE_CHECKING:
    from mrct_runtime.result import Result

Contour: TypeAlias = Literal["rtstruct", "seg"]
MAPS_FOLDER, PAGE_FOLDER = "std", "page"
CONTOUR_FILES: Final[dict[Contour, str]] = {
    "rtstruct": "body_rtstruct.dcm",
    "seg": "body_seg.dcm",
}

# int16 CT, float32 map and two NIfTIs, uncompressed, with room for headers, contours and pictures; then the 16-bit map.
_BYTES_A_VOXEL = 14
_BYTES_OF_MAPS = 2
_BYTES_OF_PAGES = 12_000_000
_BYTES_BESIDES = 12_000_000


@dataclass(frozen=True)
class Outputs:
    """What else is written; each field is a flag of `mrct-infer`."""

    maps: bool = False
    """The deviation as Secondary Capture images too, in std/."""
    contour: Contour | None = None
    """The body as an RT Structure Set or a Segmentation, on the slices of the synthetic CT."""
    page: bool = False
    """The pictures as Secondary Capture pages too, in page/."""
    spacing: float | None = None
    """The side in mm of the square pixels that mean and deviation are resampled to, on the MR's own slices; the deviation like
    any image, so between pixels it is that of neither."""
    deidentify: bool = False
    """Names, dates and UIDs of the patient and the study are in no file."""
    kvp: float | None = None
    """The tube voltage, in kV, that the CT series claims; without it KVP is empty, as there was no tube."""

    def __post_init__(self) -> None:
        if self.contour is not None and self.contour not in get_args(Contour):
            raise UsageError(f"contour is rtstruct or seg, not {self.contour!r}")
        if self.spacing is not None and not self.spacing > 0:
            raise UsageError(f"spacing is a pixel's side in mm, above 0, not {self.spacing:g}")
        if self.kvp is not None and not 1 <= self.kvp <= 1000:
            raise UsageError(f"kvp is a tube voltage in kV such as 120, not {self.kvp:g}")

    def check(self, source: Series) -> None:
        """UsageError where the spacing does not suit a source, or DICOM is asked for of one that has no patient."""
        self.grid(source.volume.grid)
        asked = {"maps": self.maps, "contour": self.contour, "page": self.page, "kvp": self.kvp}
        if not source.headers and (names := [name for name, wish in asked.items() if wish]):
            raise UsageError(
                f"{' and '.join(names)} make DICOM, which a volume's file gives none of: leave them out"
            )

    def grid(self, grid: Grid) -> Grid:
        """The grid of what is written, of a result on the MR's; UsageError where the spacing does not suit it."""
        return grid if self.spacing is None else respaced_grid(grid, self.spacing)

    def of(self, result: Result, scratch: Scratch = IN_MEMORY) -> Result:
        """The result as it is written, its volumes in the scratch."""
        if self.spacing is None:
            return result
        grid = self.grid(result.source.volume.grid)
        return replace(
            result,
            source=respaced(result.source, self.spacing, scratch),
            mean_hu=result.mean_hu.resample(grid, fill=AIR_HU, scratch=scratch),
            std_hu=result.std_hu.resample(grid, fill=0.0, scratch=scratch),
        )

    def nameless(self, result: Result) -> Result:
        """The result, of a source that names nobody where that was asked for."""
        if not self.deidentify:
            return result
        return replace(result, source=deidentified(result.source), warnings=self.warnings(result))

    def warnings(self, result: Result) -> tuple[str, ...]:
        """The result's, which may name the series as its scanner's user did, unless nobody is to be named."""
        if not self.deidentify:
            return result.warnings
        return tuple(line.replace(str(result.source), "the series") for line in result.warnings)

    def bytes_needed(self, grid: Grid) -> int:
        """What the files of a result on the MR's grid take at most."""
        voxels = math.prod(self.grid(grid).shape)
        besides = _BYTES_BESIDES + self.page * _BYTES_OF_PAGES
        return voxels * (_BYTES_A_VOXEL + self.maps * _BYTES_OF_MAPS) + besides

    def bytes_meanwhile(self, grid: Grid, scratch: Scratch) -> int:
        """What volumes take in the scratch while these files are written: resampled ones, and what a contour is found in."""
        volume = scratch.bytes_on_disk(self.grid(grid).shape, np.float32)
        return volume * (3 * (self.spacing is not None) + 2 * (self.contour is not None))


def write_besides(
    result: Result,
    ct: WrittenSeries,
    outputs: Outputs,
    folder: Path,
    derivation: Derivation,
    scratch: Scratch,
) -> None:
    """The files that were asked for, into the folder that holds the others."""
    source = result.source
    if outputs.maps:
        (folder / MAPS_FOLDER).mkdir()
        write_maps(result.std_hu, source, folder / MAPS_FOLDER, derivation)
    if outputs.contour is not None:
        write = write_structure_set if outputs.contour == "rtstruct" else write_segmentation
        path = folder / CONTOUR_FILES[outputs.contour]
        write(body(source.volume, scratch), source, ct, path, derivation)
    if outputs.page:
        (folder / PAGE_FOLDER).mkdir()
        canonical = (v.canonical(scratch) for v in (source.volume, result.mean_hu, result.std_hu))
        write_pages(pictures(*canonical), source, folder / PAGE_FOLDER, derivation)
