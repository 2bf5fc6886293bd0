"""Volumes as single files, by the ending of their names: NIfTI, and MetaImage where SimpleITK is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mrct_runtime.metaimage import read_metaimage, write_metaimage
from mrct_runtime.nifti import read_nifti, write_nifti
from mrct_runtime.volume import Volume

READERS: Final[Mapping[str, Callable[[Path], Volume]]] = MappingProxyType(
    {
        ".nii.gz": read_nifti,
        ".nii": read_nifti,
        ".mha": read_metaimage,
        ".mhd": read_metaimage,
    }
)
WRITERS: Final[Mapping[str, Callable[[Volume, Path, str], None]]] = MappingProxyType(
    {".nii.gz": write_nifti, ".mha": write_metaimage}
)


def ending(name: str) -> str:
    """That of a file name which says what volume it holds, as a key of READERS; empty of any other."""
    return next((known for known in READERS if name.lower().endswith(known)), "")
