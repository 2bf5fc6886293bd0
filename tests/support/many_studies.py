"""Small studies that differ, and what their results hold whatever run made them."""

import gzip

import numpy as np
import pydicom
from dicom_study import make_grid, write_series
from mr_study import SHAPE, blob

QUICK = ("--steps", "20", "--mc", "2", "--threads", "1")


def write_studies(folder, count):
    """The folder, holding a study for each of `count` patients, all with other images."""
    for k in range(count):
        stored = (blob() * (1 + 0.1 * k)).astype(np.uint16)
        write_series(folder / f"patient-{k}", make_grid(SHAPE), stored)
    return folder


def values(result):
    """All voxels of a result: the volumes' bytes, and the pixels of its DICOM files, which have times of their own."""
    nifti = [
        gzip.decompress((result / name).read_bytes()) for name in ("sct.nii.gz", "sct_std.nii.gz")
    ]
    files = [*sorted((result / "sct").iterdir()), result / "std.dcm"]
    return [*nifti, *(pydicom.dcmread(path).pixel_array.tobytes() for path in files)]
