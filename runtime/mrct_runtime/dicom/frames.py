"""A multi-frame image as the headers that its frames would have as classic images (PS3.3 C.7.6.16).

Everything behind it, from grouping to writing, then knows one kind of header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from mrct_runtime.dicom.header import number, text

MULTI_FRAME = frozenset(
    {
        EnhancedMRImageStorage,
        EnhancedCTImageStorage,
        LegacyConvertedEnhancedMRImageStorage,
        LegacyConvertedEnhancedCTImageStorage,
    }
)

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# The functional groups whose elements classic images have at the top, or that tell frames apart.
_FLATTENED = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "FrameContentSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRDiffusionSequence",
)
# What a frame calls otherwise than a classic image does, and that one's value representation.
_RENAMED = (
    ("EffectiveEchoTime", "EchoTime", "DS"),
    ("InversionTimes", "InversionTime", "DS"),
    ("TemporalPositionIndex", "TemporalPositionIdentifier", "IS"),
    ("FrameAcquisitionNumber", "AcquisitionNumber", "IS"),
)
_PULSES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def frame_headers(image: Dataset) -> list[Dataset]:
    """One header a frame, in the file's order; each knows its `frame_number`. Empty where the frames have none.

    The elements are the image's own, so that decimal strings stay as they were written; they are shared between the
    headers, which nothing may change.
    """
    per_frame = _items(image, _PER_FRAME)
    if len(per_frame) != frame_count(image):
        return []
    top = list(_elements(image, leave_out={_SHARED, _PER_FRAME, "NumberOfFrames"}))
    shared = [element for group in _items(image, _SHARED) for element in _flattened(group)]
    return [
        _frame_header(k, [*top, *shared, *_flattened(group)])
        for k, group in enumerate(per_frame, start=1)
    ]


def frame_number(header: Dataset) -> int | None:
    """The place of a frame in its file, counted from 1 as references do; None of a classic image."""
    # no image has this element at its top
    found = number(header, "ReferencedFrameNumber")
    return None if found is None else int(found)


def frame_count(image: Dataset) -> int:
    """The number of frames that the header claims."""
    return int(number(image, "NumberOfFrames") or 0)


def instance_name(header: Dataset) -> str:
    """What tells an image from all others: its instance UID, and of a frame its number."""
    frame = frame_number(header)
    uid = text(header, "SOPInstanceUID")
    return uid if frame is None else f"{uid} frame {frame}"


def _frame_header(k: int, elements: Iterable[DataElement]) -> Dataset:
    frame = Dataset()
    for element in elements:
        frame[element.tag] = element
    _put(frame, "ReferencedFrameNumber", "IS", k)
    for own, classic, representation in _RENAMED:
        value = number(frame, own)
        if value is not None:
            shown = format_number_as_ds(value) if representation == "DS" else int(value)
            _put(frame, classic, representation, shown)
    if "FrameType" in frame:
        _put(frame, "ImageType", "CS", frame.FrameType)
    # date and time in one, hours first to the fraction of a second, then perhaps a time zone
    moment = text(frame, "FrameAcquisitionDateTime").partition("+")[0].partition("-")[0]
    if len(moment) >= 14:
        _put(frame, "AcquisitionDate", "DA", moment[:8])
        _put(frame, "AcquisitionTime", "TM", moment[8:])
    _name_sequence(frame)
    return frame


def _name_sequence(frame: Dataset) -> None:
    """Puts ScanningSequence in the words of classic images, where the image describes its pulses."""
    found = [
        *_PULSES.get(text(frame, "EchoPulseSequence"), []),
        *(["IR"] if text(frame, "InversionRecovery") == "YES" else []),
        *(["EP"] if text(frame, "EchoPlanarPulseSequence") == "YES" else []),
    ]
    if found and not text(frame, "ScanningSequence"):
        _put(frame, "ScanningSequence", "CS", found)


def _flattened(group: Dataset) -> Iterator[DataElement]:
    for keyword in _FLATTENED:
        for item in _items(group, keyword)[:1]:
            yield from (element for element in _elements(item) if element.VR != "SQ")


def _elements(dataset: Dataset, leave_out: Iterable[str] = ()) -> Iterator[DataElement]:
    """The public elements that can be decoded; what cannot counts as absent, as in all headers."""
    passed_over = {tag_for_keyword(keyword) for keyword in leave_out}
    for tag in dataset.keys():  # noqa: SIM118  iterating over a dataset decodes, and raises at the first damaged element
        if tag.is_private or tag in passed_over:
            continue
        try:
            yield dataset[tag]
        except (
            ValueError,
            TypeError,
            OverflowError,
            AttributeError,
            NotImplementedError,
            LookupError,
        ):
            continue


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    element = dataset.get(keyword)
    return list(element) if element else []


def _put(frame: Dataset, keyword: str, representation: str, value: object) -> None:
    # a new element: setting an attribute would change the one that all frames share
    tag = tag_for_keyword(keyword)
    assert tag is not None
    frame[tag] = DataElement(tag, representation, value)
