"""Small paired data sets in every layout, of one head with air around it, bone, and a canal of air in its middle."""

import csv

import nibabel
import numpy as np
import SimpleITK as sitk
from dicom_study import make_grid, write_series
from pydicom.uid import generate_uid
from skimage.io import imsave

from mrct_runtime.nifti import ras_affine
from mrct_runtime.volume import Volume

SHAPE = (5, 36, 30)
GRID = make_grid(SHAPE, (3.0, 2.0, 2.0))
OWN_UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")


def head(grid=GRID):
    """(MR, CT in HU, body) on a grid: an ellipse, larger in every slice, that is different left, right, front and back."""
    s, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    radius = (x / 0.75) ** 2 + (y / 0.65) ** 2
    body = radius < 1 + 0.2 * s
    mr = np.where(body, 500 + 200 * x + 100 * y + 50 * s, 2.0)
    hu = np.where(body, 40.0, -1000.0)
    bone = body & (radius > 0.7)
    canal = (x - 0.2) ** 2 + (y + 0.2) ** 2 < 0.03
    mr[bone], hu[bone] = 40, 900
    mr[canal], hu[canal] = 5, -1000
    return (
        Volume(np.rint(mr).astype(np.float32), grid),
        Volume(hu.astype(np.float32), grid),
        body,
    )


def write_volume(path, volume):
    """The volume as NIfTI or MetaImage, written by nibabel and SimpleITK themselves, 16 bit where it is whole."""
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif np.isfinite(array).all():
        array = array.astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), ras_affine(volume)), path)
        return
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(mm) for mm in volume.grid.spacing_mm[::-1]])
    image.SetOrigin([float(mm) for mm in volume.grid.affine[:3, 3]])
    image.SetDirection(volume.grid.directions[:, ::-1].flatten().tolist())
    sitk.WriteImage(image, str(path))


def write_synthrad(folder, ending=".nii.gz", **replaced):
    """A subject's folder with mr, ct and mask; `replaced` are other volumes, or None to leave one out."""
    mr, ct, body = head()
    volumes = {"mr": mr, "ct": ct, "mask": Volume(body, GRID)} | replaced
    for name, volume in volumes.items():
        if volume is not None:
            write_volume(folder / f"{name}{ending}", volume)
    return folder


def write_gold_atlas(folder, *, deformed=True, original=True, mr=True):
    """A patient as Gold Atlas has them: T1w and T2w MR, the CT on its own grid, and the CT deformed to the MR."""
    signal, hu, _ = head()
    if mr:
        stored = signal.array.astype(np.uint16)
        write_part(folder, "T2", GRID, stored, number=3, description="t2_tse_tra")
        t1w = {"EchoTime": "10", "RepetitionTime": "600"}
        write_part(folder, "T1", GRID, stored, number=2, description="t1_tse_tra", elements=t1w)
    if original:
        grid = make_grid((7, 36, 36), (2.5, 2.0, 2.0), origin=(-30, -10, -45))
        write_ct(folder, "CT", grid, number=1, description="CT 1")
    if deformed:
        description = "Deformed 'CT 1' using CTtoMR DIR"
        write_ct(folder, "CTdef", GRID, hu.array, number=9, description=description)
    return folder


def write_ct(folder, name, grid, hu=None, **series):
    stored = None if hu is None else (hu + 1024).astype(np.uint16)
    write_part(folder, name, grid, stored, modality="CT", **series)


def write_part(folder, name, grid, stored=None, *, elements=None, **series):
    """A series in the patient's own study and frame of reference."""
    own = {keyword: generate_uid(entropy_srcs=[folder.name, keyword]) for keyword in OWN_UIDS}
    write_series(folder / name, grid, stored, elements=own | (elements or {}), **series)


def write_png(folder, names=("1BA001", "1BA005"), views=("axial", "coronal", "sagittal")):
    """PNG pairs, stored with x, y or z first as the data set has them, and their table of HU."""
    mr, ct, body = head()
    for name in names:
        (folder / name).mkdir(parents=True)
        for view in views:
            for kind, array in (
                ("mri", mr.array / 4),
                ("ct", (ct.array + 1024) / 8),
                ("mask", 255 * body),
            ):
                picture = picture_of(array.astype(np.uint8), view)
                imsave(folder / name / f"{kind}_{view}.png", picture, check_contrast=False)
    rows = [(name, view, 1016.0) for name in names for view in views]
    with (folder / "ct_scale_estimate.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("subject", "view", "estimated_HU_at_255"), *rows])
    return folder


def picture_of(array, view):
    """The middle cut of an array [S, H, W] with the axes (x, y), (x, z) or (y, z)."""
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[view]
    return np.take(array, array.shape[axis] // 2, axis=axis).T
