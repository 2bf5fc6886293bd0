"""References to frames in what highdicom makes, which takes single images or one whole multi-frame image as a source.

Each frame is shown to it as an image of its own, and its references are put right afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydicom import Dataset
from pydicom.uid import MRImageStorage

from mrct_runtime.dicom.frames import frame_number, instance_name
from mrct_runtime.dicom.header import text

_NAMESPACE: Final = uuid.UUID("1f6b6a5e-58a5-4c0b-9d0c-6f0a3f7c2b11")


def stand_in(image: Dataset, header: Dataset) -> None:
    """Gives a stand-in of a frame a class and UID as of a single image; that of a classic image stays as it is."""
    if frame_number(header) is not None:
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = _stand_in_uid(header)


def refer_to_frames(made: Dataset, headers: Sequence[Dataset]) -> None:
    """Turns references to stand-ins into references to the frames that they stood for."""
    frames = {_stand_in_uid(h): h for h in headers if frame_number(h) is not None}
    if not frames:
        return
    for series in made.get("ReferencedSeriesSequence", []):
        instances = [_instance_of(item, frames) for item in series.ReferencedInstanceSequence]
        # all frames of a file are one instance here
        once = {str(item.ReferencedSOPInstanceUID): item for item in instances}
        series.ReferencedInstanceSequence = list(once.values())
    for item in _sources(made):
        header = frames.get(str(item.ReferencedSOPInstanceUID))
        if header is not None:
            item.update(_instance(header))
            item.ReferencedFrameNumber = frame_number(header)


def _sources(made: Dataset) -> Iterator[Dataset]:
    yield from made.get("SourceImageSequence", [])
    for frame in made.get("PerFrameFunctionalGroupsSequence", []):
        for derivation in frame.get("DerivationImageSequence", []):
            yield from derivation.get("SourceImageSequence", [])


def _instance_of(item: Dataset, frames: Mapping[str, Dataset]) -> Dataset:
    """The file of the frame that an item's stand-in stood for; of any other item the item."""
    header = frames.get(str(item.ReferencedSOPInstanceUID))
    return item if header is None else _instance(header)


def _instance(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = text(header, "SOPClassUID")
    item.ReferencedSOPInstanceUID = text(header, "SOPInstanceUID")
    return item


def _stand_in_uid(header: Dataset) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, instance_name(header)).int}"
