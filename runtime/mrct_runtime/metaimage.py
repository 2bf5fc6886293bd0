"""A volume out of MetaImage (.mha, .mhd), which ITK's tools write: positions in LPS as in DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrct_runtime.errors import InputRejectedError, OutputError
from mrct_runtime.itk import simple_itk
from mrct_runtime.volume import Grid, Volume


def read_metaimage(path: Path) -> Volume:
    """The file's volume in float32; needs SimpleITK."""
    itk = simple_itk(f"{path.name}: reading MetaImage")
    try:
        image = itk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputRejectedError(
            f"{path.name} cannot be read as MetaImage; export it again"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputRejectedError(
            f"{path.name} has the size {image.GetSize()} and {image.GetNumberOfComponentsPerPixel()} values "
            "a voxel; a volume of one value is needed"
        )
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = (directions * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    array = itk.GetArrayFromImage(image).astype(np.float32, copy=False)
    return Volume(array, Grid(affine, array.shape))


def write_metaimage(volume: Volume, path: Path, notice: str = "") -> None:
    """The volume in float32 (labels in uint8), compressed, with the notice as its comment; needs SimpleITK."""
    itk = simple_itk(f"{path.name}: writing MetaImage")
    kind = np.uint8 if volume.array.dtype == bool else np.float32
    image = itk.GetImageFromArray(volume.array.astype(kind, copy=False))
    grid = volume.grid
    image.SetSpacing(grid.spacing_mm[::-1].tolist())
    image.SetDirection(grid.directions[:, ::-1].ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    if notice:
        image.SetMetaData("Comment", notice)
    try:
        itk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OutputError(f"{path.name}: cannot be written as MetaImage") from error
