"""Mutations of DICOM files that a parser still reads: elements with wrong, absurd, missing or too many values."""

from __future__ import annotations

import io
from random import Random

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from fuzzing.byte_mutations import BYTES, Mutation

_PIXELS = Tag("PixelData")
_WEIGHTY = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"),
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SliceThickness"),
    *("FrameOfReferenceUID", "Modality", "SeriesNumber", "InstanceNumber", "EchoTime"),
    *("SpecificCharacterSet", "SeriesDescription", "ImageType", "AcquisitionNumber"),
    *("TemporalPositionIdentifier", "RepetitionTime", "PatientPosition", "SpacingBetweenSlices"),
)
_NUMBERS = (
    *(
        b"nan",
        b"NaN ",
        b"inf",
        b"-inf ",
        b"1e999 ",
        b"-1",
        b"0",
        b"1e-320",
        b"1e38 ",
        b"1E308",
        b"-1e9",
    ),
    *(
        b"",
        b" ",
        b"\\",
        b"1\\2\\3\\4\\5\\6\\7",
        b"0\\0",
        b"0\\0\\0\\0\\0\\0",
        b"-1\\-1",
        b"1,5 ",
        b"abc",
    ),
    *(
        b"1\\nan\\3 ",
        b"1\\\\3 ",
        b"9" * 400,
        b"1_0 ",
        b"0x10",
        b"\xff\xfe",
        b"1\\" * 5000,
        b"2147483648",
    ),
    *(b"\xd9\xa1 ", b"+1", b"1e5\\1e5\\1e5", b"1e308\\1e308\\1e308"),
)
_WORDS = (
    *(
        b"",
        b"\x00",
        b"../../evil",
        b"1.2.3",
        b"1." * 60,
        b"ISO 2022 IR 87\\ISO 2022 IR 159",
        b"ISO_IR 192",
    ),
    *(
        b"\x1b$B\x1b(B\xff",
        b"GB18030 ",
        b"\\\\\\",
        b"A" * 5000,
        b"\xff" * 30,
        b"MR\\CT",
        b"CT",
        b"RGB ",
    ),
    *(
        b"MONOCHROME1 ",
        b"PALETTE COLOR ",
        b"LOCALIZER ",
        b"\n\r\t\x1b[2J",
        b"1.2.840.10008.5.1.4.1.1.2\x00",
    ),
)
_BINARY = (
    *(
        b"\x00\x00",
        b"\xff\xff",
        b"\x01\x00",
        b"\x00\x80",
        b"\xff\x7f",
        b"\x00\x10",
        b"\x11\x10",
        b"",
        b"\x18",
    ),
    *(
        b"\x18\x00\x18\x00",
        b"\xff\xff\xff\xff",
        b"\x08\x00",
        b"\x20\x00",
        b"\x40\x00",
        b"\x0c\x00",
        b"\x17\x00",
    ),
)
_VRS = (
    "US",
    "SS",
    "UL",
    "DS",
    "IS",
    "UI",
    "CS",
    "SQ",
    "OB",
    "OW",
    "UN",
    "AT",
    "FD",
    "PN",
    "OF",
    "UT",
)
_SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.50", "1.2.3.4"),
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.1.98", ""),
)
_NAMES = ("PatientName", "InstitutionName", "AccessionNumber", "ReferringPhysicianName", "StudyID")
_TAIL = 4096
"""Pixels are many and headers few: bytes are changed in the first and last so many as often as anywhere."""


def with_another_element(content: bytes, chance: Random) -> bytes:
    """An element of the image, or of an item in it, has another value, or another kind of value."""

    def change(image: Dataset) -> None:
        place, tag = _element(image, chance)
        old = place.get_item(tag) if tag in place else None
        kind = old.VR if old is not None and old.VR else chance.choice(_VRS)
        if chance.random() < 0.2:
            kind = chance.choice(_VRS)
        pool = {"US": _BINARY, "SS": _BINARY, "UL": _BINARY, "DS": _NUMBERS, "IS": _NUMBERS}
        value = chance.choice(pool.get(str(kind), _WORDS))
        if tag == _PIXELS:
            value = _pixels(old, chance)
        place._dict[tag] = _raw(image, tag, str(kind), value)

    return _edited(content, change)


def without_an_element(content: bytes, chance: Random) -> bytes:
    """An element is gone."""

    def change(image: Dataset) -> None:
        place, tag = _element(image, chance)
        place._dict.pop(tag, None)

    return _edited(content, change)


def with_an_element_more(content: bytes, chance: Random) -> bytes:
    """An element that no image of this kind has, of a private group or of none."""

    def change(image: Dataset) -> None:
        tag = BaseTag(chance.choice((0x00091001, 0x00280106, 0x00282000, 0x7FE00008, 0x52009229)))
        kind = chance.choice(_VRS)
        image._dict[tag] = _raw(image, tag, kind, chance.choice((*_NUMBERS, *_WORDS, *_BINARY)))

    return _edited(content, change)


def of_another_transfer_syntax(content: bytes, chance: Random) -> bytes:
    """The file's meta information says that the rest is written in another way."""

    def change(image: Dataset) -> None:
        image.file_meta.TransferSyntaxUID = UID(chance.choice(_SYNTAXES))

    return _edited(content, change)


def with_other_bytes_in_the_header(content: bytes, chance: Random) -> bytes:
    """Bytes are changed where elements are, not where pixels are."""
    head, tail = content[:_TAIL], content[_TAIL:]
    return chance.choice(BYTES)(head, chance) + tail


def of_another_patient(content: bytes, chance: Random) -> bytes:
    """A text that no voxel depends on is another one."""
    value = "".join(chance.choices("abc ^=\\", k=chance.randint(0, 12)))

    def change(image: Dataset) -> None:
        setattr(image, chance.choice(_NAMES[:2]), value)

    return _edited(content, change)


def _edited(content: bytes, change: object) -> bytes:
    """The file with its elements changed; as it was where that cannot be written."""
    try:
        image = dcmread(io.BytesIO(content), force=True)
        change(image)  # type: ignore[operator]
        written = io.BytesIO()
        syntax = getattr(image, "file_meta", {}).get("TransferSyntaxUID", "")
        implicit, little = image.original_encoding
        known = syntax in _SYNTAXES[:3]
        encoding = {} if known else {"implicit_vr": bool(implicit), "little_endian": bool(little)}
        dcmwrite(written, image, enforce_file_format=False, **encoding)
    except Exception:  # noqa: BLE001 - an earlier mutation of these bytes may have left anything
        return content
    return written.getvalue()


def _element(image: Dataset, chance: Random) -> tuple[Dataset, BaseTag]:
    """A place and an element of it: mostly one that matters, of sequences also those of their items."""
    place = image
    while chance.random() < 0.6:
        sequences = [tag for tag in place if place[tag.tag].VR == "SQ" and place[tag.tag].value]
        if not sequences:
            break
        place = chance.choice(list(chance.choice(sequences).value))
    if place is image and chance.random() < 0.6:
        return place, Tag(chance.choice(_WEIGHTY))
    tags = list(place.keys())
    return place, chance.choice(tags) if tags else Tag(chance.choice(_WEIGHTY))


def _raw(image: Dataset, tag: BaseTag, kind: str, value: bytes) -> RawDataElement:
    implicit, little = image.original_encoding
    if len(value) % 2 and chance_of_odd(value):
        value += b"\x00"
    return RawDataElement(tag, kind, len(value), value, 0, bool(implicit), bool(little))


def chance_of_odd(value: bytes) -> bool:
    """True where the value is padded to an even length, as all should be; of some it is not."""
    return len(value) != 3


def _pixels(old: object, chance: Random) -> bytes:
    value = getattr(old, "value", None) or b"\x00" * 64
    return chance.choice(BYTES)(bytes(value), chance)


DICOM: tuple[Mutation, ...] = (
    *(with_another_element, with_another_element, with_another_element, without_an_element),
    *(with_an_element_more, of_another_transfer_syntax, with_other_bytes_in_the_header),
)
