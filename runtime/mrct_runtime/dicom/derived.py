"""What every object made from an MR series shares with it, and what says that it was made and by what."""

from __future__ import annotations

import codecs
import copy
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, python_encoding
from pydicom.sr.coding import Code
from pydicom.valuerep import format_number_as_ds

from mrct_runtime.dicom.header import number, silenced, text
from mrct_runtime.errors import UsageError

MANUFACTURER = "mrct"
SYNTHETIC = "SYNTHETIC CT - RESEARCH USE ONLY"
UNCERTAINTY = "SYNTHETIC CT UNCERTAINTY - RESEARCH USE ONLY"
BODY = "BODY"
CONTOUR = "BODY CONTOUR - RESEARCH USE ONLY"
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
RESAMPLED = Code("113085", "DCM", "Spatial resampling")
# PS3.16 CID 7203 has no code for the translation of one modality into another.
MR_TO_SYNTHETIC_CT = Code("MR2SCT", "99MRCT", "Synthetic CT from MR")

# Patient, study and frame of reference: one patient, one study, one room.
SHARED = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientPosition",
    "BodyPartExamined",
    "Laterality",
    "PositionReferenceIndicator",
)
# Type 2: present, though possibly empty.
PRESENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True)
class Derivation:
    """How the result was made: written into every object, and the same for all objects of one run.

    `mc` are the fewest and the most samples of a slice.
    text is the sentence for DerivationDescription: what the model is and how it was sampled. `recalibrated` tells
    that the deviation is not the samples' own, `spacing_mm` that the images were resampled to square pixels.
    Without `made_at` no object tells when it was made.
    """

    software_version: str
    bundle: str
    bundle_sha256: str
    sampler: str
    mc: tuple[int, int]
    seed: int
    text: str = ""
    recalibrated: bool = False
    spacing_mm: float | None = None
    made_at: datetime | None = field(
        default_factory=lambda: datetime.now(tz=UTC).astimezone(), repr=False
    )

    def __post_init__(self) -> None:
        if not 1 <= self.mc[0] <= self.mc[1]:
            raise UsageError(
                f"a result is made of at least one sample a slice, not {self.mc[0]} to {self.mc[1]}"
            )
        if self.made_at is not None and self.made_at.tzinfo is None:
            raise UsageError("the time of a derivation needs its time zone")

    @property
    def identity(self) -> str:
        """All of it but the time, as text."""
        return repr(self)

    @property
    def description(self) -> str:
        """DerivationDescription, at most 1024 characters of ASCII."""
        made = (
            f"{SYNTHETIC}. From MR by {MANUFACTURER} {self.software_version}, "
            f"bundle {self.bundle} (sha256 {self.bundle_sha256}), sampler {self.sampler}, "
            f"{self._samples}, seed {self.seed}. {self._grid}{self.text}"
        )
        return plain(made, 1024)

    @property
    def spread(self) -> str:
        """What the deviation is, in a word or two."""
        return "Recalibrated spread" if self.recalibrated else "Spread"

    @property
    def codes(self) -> list[Code]:
        """DerivationCodeSequence."""
        return [MR_TO_SYNTHETIC_CT, *([] if self.spacing_mm is None else [RESAMPLED])]

    @property
    def locations_preserved(self) -> str:
        """SpatialLocationsPreserved: whether a pixel lies where the same one of the source image does."""
        return "YES" if self.spacing_mm is None else "NO"

    @property
    def _samples(self) -> str:
        fewest, most = self.mc
        many = str(most) if fewest == most else f"{fewest} to {most}"
        return f"{many} Monte Carlo sample{'s' if most > 1 else ''}"

    @property
    def _grid(self) -> str:
        return "" if self.spacing_mm is None else f"Resampled to {self.spacing_mm:g} mm pixels. "

    @property
    def software_versions(self) -> list[str]:
        """SoftwareVersions: program, bundle, and the start of the bundle's hash, 64 characters each at most.

        The last value is kept short: padded to an even length, 64 characters would be read back as 65.
        """
        shortened = f"sha256 {self.bundle_sha256[:16]}"
        versions = (f"{MANUFACTURER} {self.software_version}", self.bundle, shortened)
        return [plain(version, 64) for version in versions]


def inherit(target: Dataset, source: Dataset, *keywords: str) -> None:
    """Copies elements as they stand, decimal strings digit by digit; absent or undecodable ones are left out."""
    for keyword in keywords:
        element = _element(source, keyword)
        if element is not None:
            target[element.tag] = element


def inherit_study(target: Dataset, source: Dataset, frame_of_reference_uid: str) -> None:
    """Puts the object into the source's patient, study and frame of reference."""
    inherit(target, source, *SHARED)
    if _time_zone(source) is None:
        target.pop("TimezoneOffsetFromUTC", None)
    sets = text(source, "SpecificCharacterSet").split("\\")
    if not all(name in python_encoding for name in sets):
        target.SpecificCharacterSet = _replacing(sets)
    for keyword in PRESENT:
        if keyword not in target:
            setattr(target, keyword, None)
    if not text(target, "Laterality"):
        target.pop("Laterality", None)
        if not text(target, "BodyPartExamined"):
            # Of a body part that may be one of a pair it must be told, if only that it is unknown.
            target.Laterality = None
    _mend_age(target)
    target.FrameOfReferenceUID = frame_of_reference_uid


def local_time(source: Dataset, derivation: Derivation) -> datetime | None:
    """The time of the derivation on the clock that the source's dates are written by; None where it is not to be told."""
    zone, at = _time_zone(source), derivation.made_at
    return at if zone is None or at is None else at.astimezone(zone)


def inherit_thickness(target: Dataset, source: Dataset, spacing_mm: float) -> None:
    """Copies SliceThickness where it is one positive number; else the distance of the slices stands in."""
    inherit(target, source, "SliceThickness")
    if "\\" in text(target, "SliceThickness") or (number(target, "SliceThickness") or 0.0) <= 0:
        target.SliceThickness = decimal(round(spacing_mm, 6))


def stamp(image: Dataset, at: datetime | None) -> None:
    """Dates the instance, its series and its content, all to one moment; without one only what must have a date has one."""
    for event in ("InstanceCreation", "Series", "Content"):
        date, time = f"{event}Date", f"{event}Time"
        if at is not None:
            setattr(image, date, at.strftime("%Y%m%d"))
            setattr(image, time, at.strftime("%H%M%S.%f"))
        elif event == "Content" and "NumberOfFrames" in image:
            # type 1 of multi-frame images; no program made images then
            setattr(image, date, "19000101")
            setattr(image, time, "000000")
        else:
            image.pop(date, None)
            image.pop(time, None)


def code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def reference_item(header: Dataset) -> Dataset:
    """The instance of a header as sequences of references name it."""
    item = Dataset()
    item.ReferencedSOPClassUID = text(header, "SOPClassUID")
    item.ReferencedSOPInstanceUID = text(header, "SOPInstanceUID")
    return item


def equipment_items(source: Dataset, derivation: Derivation, at: datetime | None) -> list[Dataset]:
    """ContributingEquipmentSequence: the MR scanner, then mrct with its version and the bundle's hash."""
    scanner = Dataset()
    scanner.PurposeOfReferenceCodeSequence = [code_item(ACQUISITION_EQUIPMENT)]
    scanner.Manufacturer = text(source, "Manufacturer") or "unknown"
    inherit(scanner, source, "ManufacturerModelName", "SoftwareVersions")
    program = Dataset()
    program.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    program.Manufacturer = MANUFACTURER
    program.ManufacturerModelName = MANUFACTURER
    program.SoftwareVersions = derivation.software_versions
    if at is not None:
        program.ContributionDateTime = at.strftime("%Y%m%d%H%M%S")
    program.ContributionDescription = derivation.description
    return [scanner, program]


def series_number(source: Dataset, kind: int) -> int:
    """A number that sorts behind the source's own: 4 gives 401 and 402, always the same for the same source."""
    try:
        number = int(text(source, "SeriesNumber"))
    except ValueError:
        number = 0
    # IS holds 32 bits.
    return number * 100 + kind if 0 <= number < 20_000_000 else 100 + kind


def decimal(value: float) -> str:
    """A DS of at most 16 characters; pydicom itself writes longer ones, which readers refuse."""
    return format_number_as_ds(float(value))


def plain(value: str, length: int) -> str:
    """ASCII of at most the given length without backslashes, fit for any character set and any text element."""
    return value.encode("ascii", "replace").decode().replace("\\", "/").strip()[:length]


def _time_zone(source: Dataset) -> timezone | None:
    """TimezoneOffsetFromUTC, -1200 to +1400 (PS3.3 C.12.1.1.8), or None where it is absent or none."""
    found = re.fullmatch(r"([+-])([0-9]{2})([0-5][0-9])", text(source, "TimezoneOffsetFromUTC"))
    if found is None:
        return None
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)
    return timezone(ahead) if timedelta(hours=-12) <= ahead <= timedelta(hours=14) else None


def _mend_age(target: Dataset) -> None:
    """Writes an age such as 7Y with its three digits, and leaves out what is none."""
    found = re.fullmatch(r"([0-9]{1,3})([DWMY])", text(target, "PatientAge"))
    target.pop("PatientAge", None)
    if found is not None:
        target.PatientAge = f"{int(found[1]):03d}{found[2]}"


def _replacing(sets: list[str]) -> str:
    """The character set that holds what pydicom made of misspelt or unknown ones; the latter it decodes as Latin 1."""
    with silenced():
        found = {codecs.lookup(name).name for name in convert_encodings(sets)}
    return "ISO_IR 100" if found == {"iso8859-1"} else "ISO_IR 192"


def _element(source: Dataset, keyword: str) -> DataElement | None:
    if keyword not in source:
        return None
    try:
        return copy.deepcopy(source[keyword])
    except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError, LookupError):
        return None
