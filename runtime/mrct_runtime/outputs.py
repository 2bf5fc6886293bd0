"""What is written besides the CT series, the map, NIfTI and pictures, and how: the choices of a run's output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrct_runtime.dicom.derived import Derivation
from mrct_runtime.dicom.secondary_capture import write_maps
from mrct_runtime.errors import UsageError
from mrct_runtime.volume import Grid

if TYPE_CHECKING:
    from mrct_runtime.result import Result

MAPS_FOLDER = "std"

# int16 CT, float32 map and two NIfTIs, uncompressed, with room for headers and pictures; then the 16-bit map.
_BYTES_A_VOXEL = 14
_BYTES_OF_MAPS = 2
_BYTES_BESIDES = 8_000_000


@dataclass(frozen=True)
class Outputs:
    """What else is written; each field is a flag of `mrct-infer`."""

    maps: bool = False
    """The deviation as Secondary Capture images too, in std/."""
    kvp: float | None = None
    """The tube voltage, in kV, that the CT series claims; without it KVP is empty, as there was no tube."""

    def __post_init__(self) -> None:
        if self.kvp is not None and not 1 <= self.kvp <= 1000:
            raise UsageError(f"kvp is a tube voltage in kV such as 120, not {self.kvp:g}")

    def bytes_needed(self, grid: Grid) -> int:
        """What the files of a result on this grid take at most."""
        voxels = grid.shape[0] * grid.shape[1] * grid.shape[2]
        return voxels * (_BYTES_A_VOXEL + self.maps * _BYTES_OF_MAPS) + _BYTES_BESIDES


def write_besides(result: Result, outputs: Outputs, folder: Path, derivation: Derivation) -> None:
    """The files that were asked for, into the folder that holds the others."""
    if outputs.maps:
        (folder / MAPS_FOLDER).mkdir()
        write_maps(result.std_hu, result.source, folder / MAPS_FOLDER, derivation)
