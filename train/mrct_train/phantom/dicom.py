"""A phantom subject as two classic DICOM series, MR and CT, in one study and one frame of reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from mrct_train.phantom.subject import Subject

# A fixed day, so that the same seed gives the same bytes.
_DATE = "20250101"
_MANUFACTURER = "mrct"
_MODEL = "mrct phantom"
# Raised whenever the same seed no longer gives the same pixels.
PHANTOM_VERSION = "1"


def write_study(subject: Subject, seed: int, folder: Path) -> None:
    """Writes folder/mr/0001.dcm ... and folder/ct/0001.dcm ..., slices from the feet to the head."""
    for name, modality in (("mr", _mr_series), ("ct", _ct_series)):
        place = folder / name
        place.mkdir(parents=True)
        for k in range(subject.grid.slices):
            dataset = _common(subject, seed, k)
            modality(dataset, subject, seed, k)
            _save(dataset, place / f"{k + 1:04d}.dcm")


def _uid(*parts: object) -> str:
    """A UID that is a function of the parts (and of the phantom's version) alone."""
    return str(generate_uid(entropy_srcs=["mrct-phantom", PHANTOM_VERSION, *map(str, parts)]))


def _ds(values: NDArray[np.float64] | list[float]) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [format_number_as_ds(round(float(value), 6)) for value in values]


def _common(subject: Subject, seed: int, k: int) -> Dataset:
    """Patient, study, frame of reference, equipment and plane of slice k."""
    grid, number = subject.grid, subject.number
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = f"PHANTOM^{number:04d}", f"PHANTOM-{number:04d}"
    ds.PatientBirthDate, ds.PatientSex = "", "M"
    ds.PatientAge, ds.PatientWeight = f"{subject.age:03d}Y", f"{subject.weight_kg:.1f}"
    study = (seed, number, grid)
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = _uid("study", *study), _uid("frame", *study)
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = f"{number}", "", ""
    ds.StudyDescription = "Pelvis phantom MR and CT"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = _DATE
    ds.StudyTime = "100000"
    # The standard's mark of a phantom; Synthetic Data (0008,001C) is unknown to validators in use.
    ds.QualityControlImage = "YES"
    ds.BodyPartExamined, ds.PatientPosition, ds.PositionReferenceIndicator = "PELVIS", "HFS", ""
    ds.Manufacturer, ds.ManufacturerModelName = _MANUFACTURER, _MODEL
    ds.SoftwareVersions, ds.InstitutionName = f"phantom {PHANTOM_VERSION}", "mrct phantom"
    ds.InstanceNumber = k + 1
    position = (subject.affine @ [k, 0, 0, 1])[:3]
    ds.ImagePositionPatient = _ds(position)
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = _ds([grid.spacing, grid.spacing])
    ds.SliceThickness = format_number_as_ds(grid.slice_thickness)
    ds.SliceLocation = _ds(position[2:])[0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = grid.size, grid.size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    return ds


def _mr_series(ds: Dataset, subject: Subject, seed: int, k: int) -> None:
    """An axial T2w turbo spin echo at 3 T."""
    grid, sequence = subject.grid, subject.sequence
    ds.SOPClassUID, ds.Modality = MRImageStorage, "MR"
    _identify(ds, subject, (seed, "mr"), k)
    ds.SeriesNumber, ds.SeriesDescription, ds.ProtocolName = 2, "t2_tse_tra", "t2_tse_tra"
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "100500"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.AcquisitionNumber = 1
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "SK", ""
    ds.MRAcquisitionType, ds.SequenceName = "2D", "tse2d1"
    ds.RepetitionTime = format_number_as_ds(sequence.tr)
    ds.EchoTime = format_number_as_ds(sequence.te)
    ds.EchoTrainLength, ds.EchoNumbers = sequence.echo_train, 1
    ds.NumberOfAverages, ds.FlipAngle = "2", "150"
    ds.MagneticFieldStrength, ds.ImagingFrequency, ds.ImagedNucleus = "3", "123.25", "1H"
    ds.SpacingBetweenSlices = format_number_as_ds(grid.slice_spacing)
    ds.ReceiveCoilName, ds.PixelBandwidth = "Body", "200"
    pixels = subject.mr[k]
    ds.PixelRepresentation = 0
    top = float(np.percentile(pixels, 99.5))
    ds.WindowCenter, ds.WindowWidth = f"{round(top / 2)}", f"{max(1, round(top))}"
    ds.PixelData = pixels.astype("<u2").tobytes()


def _ct_series(ds: Dataset, subject: Subject, seed: int, k: int) -> None:
    """The CT in HU: named as the deformed CT that comes with a real registered data set."""
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    _identify(ds, subject, (seed, "ct"), k)
    ds.SeriesNumber, ds.SeriesDescription = 3, "Deformed CT on MR grid (phantom)"
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "090000"
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.DerivationDescription = "Computed from the anatomy that the MR series shows"
    ds.AcquisitionNumber, ds.KVP, ds.ConvolutionKernel = 1, "120", "SOFT"
    ds.SpacingBetweenSlices = format_number_as_ds(subject.grid.slice_spacing)
    ds.PixelRepresentation = 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.PixelData = subject.ct[k].astype("<i2").tobytes()


def _identify(ds: Dataset, subject: Subject, series: tuple[int, str], k: int) -> None:
    """Series and instance UIDs."""
    own = (*series, subject.number, subject.grid)
    ds.SeriesInstanceUID = _uid("series", *own)
    ds.SOPInstanceUID = _uid("instance", *own, k)


def _save(ds: Dataset, path: Path) -> None:
    """Explicit VR little endian, uncompressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = "MRCT_PHANTOM"
    file = FileDataset(str(path), ds, file_meta=meta, preamble=b"\0" * 128)
    file.save_as(path, enforce_file_format=True)
