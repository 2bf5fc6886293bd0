"""A volume out of MetaImage (.mha, .mhd), which ITK's tools write: positions in LPS as in DICOM."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mrct_runtime.errors import InputRejectedError, OutputError
from mrct_runtime.itk import simple_itk
from mrct_runtime.metaimage_header import check_metaimage
from mrct_runtime.volume import MAX_VOXELS, Grid, Volume


def read_metaimage(path: Path) -> Volume:
    """The file's volume in float32; needs SimpleITK."""
    itk = simple_itk(f"{path.name}: reading MetaImage")
    check_metaimage(path)
    reader = itk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size, values = reader.GetSize(), reader.GetNumberOfComponents()
        if len(size) != 3 or values != 1 or math.prod(size) > MAX_VOXELS:
            raise InputRejectedError(
                f"{path.name} has the size {size} and {values} values a voxel; "
                f"a volume of one value is needed, of at most {MAX_VOXELS} voxels"
            )
        image = reader.Execute()
    except RuntimeError as error:
        raise InputRejectedError(
            f"{path.name} cannot be read as MetaImage; export it again"
        ) from error
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
