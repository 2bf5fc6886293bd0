"""Small DICOM studies for tests: any geometry, any element overridden, a canary in every text that names the patient."""

import gzip
import re
import shutil
import subprocess

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from scipy.spatial.transform import Rotation

from mrct_runtime.volume import Grid

CANARY = "CANARY"
# GE's study has UIDs of the root 0, which its results share.
GE_UID = "Illegal root for UID"
# SyntheticData is younger than the dictionary of dicom3tools 2022; PS3.3 has it in the SOP Common module.
YOUNGER_THAN_DCIODVFY = "(0x0008,0x001c)"
STUDY_UID = generate_uid(entropy_srcs=["mrct tests", "study"])
FRAME_UID = generate_uid(entropy_srcs=["mrct tests", "frame"])
PATIENT = {
    "PatientName": f"{CANARY}^NAME",
    "PatientID": f"{CANARY}-ID",
    "PatientBirthDate": "19700102",
    "PatientSex": "M",
    "AccessionNumber": f"{CANARY}-ACC",
    "ReferringPhysicianName": f"{CANARY}^DOCTOR",
    "StudyID": f"{CANARY}-SID",
    "StudyDate": "20200102",
    "StudyTime": "101500",
    "InstitutionName": f"{CANARY} HOSPITAL",
    "BodyPartExamined": "PELVIS",
    "PatientPosition": "HFS",
}
T2W = {
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "ScanOptions": "",
    "EchoTime": "100",
    "RepetitionTime": "4000",
    "EchoTrainLength": "16",
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    "Manufacturer": "ACME",
    "ManufacturerModelName": "Magnetron",
}
CT = {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": "120", "RescaleType": "HU"}


def make_grid(shape=(10, 24, 30), spacing=(3.0, 1.0, 1.25), angles=(0, 0, 0), origin=(-20, 5, -40)):
    """An axial grid, rotated about x, y, z by the angles in degrees."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = rotation[:, ::-1] * np.asarray(spacing)
    affine[:3, 3] = origin
    return Grid(affine, shape)


def make_signal(grid, seed=0):
    """Unsigned 12-bit values [S, H, W], every slice different."""
    return np.random.default_rng(seed).integers(0, 4096, grid.shape).astype(np.uint16)


def write_series(
    folder,
    grid,
    stored=None,
    *,
    modality="MR",
    number=4,
    description="t2_tse_tra",
    elements=None,
    per_slice=None,
    skip=(),
    big_endian=False,
):
    """The files of a classic series, in an order and numbering that say nothing about the slices' positions.

    elements override or (None) remove; per_slice(index, dataset) edits one image just before it is written.
    """
    stored = make_signal(grid) if stored is None else stored
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = generate_uid(entropy_srcs=["mrct tests", modality, str(number), description])
    shuffled = np.random.default_rng(1).permutation(grid.shape[0])
    paths = []
    for index, name in enumerate(shuffled):
        if index in skip:
            continue
        image = _image(grid, index, stored[index], modality)
        image.SeriesInstanceUID = series_uid
        image.SeriesNumber = number
        image.SeriesDescription = description
        image.InstanceNumber = int(name) + 1
        for keyword, value in (elements or {}).items():
            if value is None:
                image.pop(keyword, None)
            else:
                setattr(image, keyword, value)
        if per_slice:
            per_slice(index, image)
        paths.append(folder / f"{modality}{number}_{name:03d}.dcm")
        _write(image, paths[-1], big_endian)
    return paths


def _image(grid, index, stored, modality):
    image = Dataset()
    for keyword, value in {**PATIENT, **(T2W if modality == "MR" else CT)}.items():
        setattr(image, keyword, value)
    image.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = STUDY_UID
    image.FrameOfReferenceUID = FRAME_UID
    image.Modality = modality
    image.ImagePositionPatient = [f"{x:.9f}"[:16] for x in grid.world((index, 0, 0))]
    cosines = (*grid.directions[:, 2], *grid.directions[:, 1])
    image.ImageOrientationPatient = [f"{c:.12f}"[:16] for c in cosines]
    image.PixelSpacing = [f"{s:.6f}" for s in grid.spacing_mm[1:]]
    image.SliceThickness = f"{grid.spacing_mm[0]:.6f}"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    if modality == "CT":
        image.RescaleSlope, image.RescaleIntercept = "1", "-1024"
    image.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    return image


def _write(image, path, big_endian):
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if big_endian:
        image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
    dcmwrite(path, image, enforce_file_format=True)


def gunzip(source, folder, every=1):
    """The files of a folder of *.dcm.gz, unpacked; every n-th of them in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in sorted(source.glob("*.dcm.gz"))[::every]:
        paths.append(folder / path.name.removesuffix(".gz"))
        paths[-1].write_bytes(gzip.decompress(path.read_bytes()))
    return paths


def run_program(name, *arguments):
    """Everything that an installed DICOM program prints; the test is skipped where it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout + done.stderr


def validation_errors(report, inherited=()):
    """The lines of dciodvfy's report that are errors, but for those that hold a text of the source's own faults."""
    lines = [line for line in report.splitlines() if re.match(r"\s*Error", line)]
    known = (YOUNGER_THAN_DCIODVFY, *inherited)
    return [line for line in lines if not any(text in line for text in known)]
