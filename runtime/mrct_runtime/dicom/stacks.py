"""Which images lie together in a stack: alike in all that a volume needs, and apart in position."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mrct_runtime.dicom.header import number, numbers, text

# Two images whose direction cosines differ by less are one orientation; real headers carry 6 digits at least.
SAME_DIRECTION = 1e-3
# Two images of one orientation that are closer along their normal lie at one position.
SAME_POSITION_MM = 0.01

PLANES: Final = ("axial", "coronal", "sagittal")
# What may differ between images at one position, and how it is told. Looked at only where positions repeat: elsewhere
# an acquisition number may well change from slice to slice of one stack.
_APART: Final = (
    ("ComplexImageComponent", "{}"),
    ("ImageType", "{}"),
    ("DiffusionBValue", "b {}"),
    ("SequenceName", "{}"),
    ("DiffusionDirectionality", "{}"),
    ("DiffusionGradientOrientation", "gradient {}"),
    ("InversionTime", "TI {} ms"),
    ("FlipAngle", "flip angle {} deg"),
    ("TemporalPositionIdentifier", "temporal position {}"),
    ("AcquisitionNumber", "acquisition {}"),
    ("TriggerTime", "trigger time {} ms"),
)


class Image(NamedTuple):
    """An MR or CT image, or a frame of one: its file and its header without pixels."""

    path: Path
    header: Dataset


class Stack(NamedTuple):
    """Images of one stack and what tells it apart: values to sort by, and words."""

    images: list[Image]
    order: tuple[tuple[float, str], ...] = ()
    words: tuple[str, ...] = ()


def stacks_of(images: Iterable[Image]) -> list[Stack]:
    """The stacks of any number of series, in no order."""
    alike: dict[tuple[str, ...], list[tuple[NDArray[np.float64], list[Image]]]] = {}
    for image in images:
        orientation = np.asarray(numbers(image.header, "ImageOrientationPatient", 6))
        # Compared, not rounded: rounding tears apart what lies on two sides of an edge.
        same_frame = alike.setdefault(_key(image.header), [])
        for other, members in same_frame:
            if np.abs(orientation - other).max() < SAME_DIRECTION:
                members.append(image)
                break
        else:
            same_frame.append((orientation, [image]))
    together = (members for same_frame in alike.values() for _, members in same_frame)
    return [stack for members in together for stack in _taken_apart(Stack(members))]


def _key(header: Dataset) -> tuple[str, ...]:
    exact = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "EchoNumbers")
    measured = (*(numbers(header, "PixelSpacing", 2) or ()), number(header, "EchoTime") or 0.0)
    return (*(text(header, keyword) for keyword in exact), *(f"{value:.3f}" for value in measured))


def _taken_apart(stack: Stack) -> list[Stack]:
    """The stack by what differs between images at one position; itself where none repeats or nothing tells them apart."""
    most = _most_at_one_position(stack.images)
    if most == 1:
        return [stack]
    for keyword, words in _APART:
        parts: dict[str, list[Image]] = {}
        for image in stack.images:
            parts.setdefault(text(image.header, keyword), []).append(image)
        # A value of its own for each image, or one that differs between positions only, makes no stacks.
        if 1 < len(parts) <= most and all(_most_at_one_position(p) < most for p in parts.values()):
            return [
                deeper
                for value, members in parts.items()
                for deeper in _taken_apart(_part(stack, members, value, words))
            ]
    return [stack]


def _part(stack: Stack, members: list[Image], value: str, words: str) -> Stack:
    shown = words.format(value.replace("\\", " ") or "unknown")
    return Stack(members, (*stack.order, _sortable(value)), (*stack.words, shown))


def _sortable(value: str) -> tuple[float, str]:
    """By the first number in it, as b50 before b400, then by the alphabet."""
    found = re.search(r"[0-9]+(\.[0-9]+)?", value)
    return (float(found[0]) if found else -1.0), value


def _most_at_one_position(images: Sequence[Image]) -> int:
    normal = normal_of(images[0].header)
    along = np.sort(
        [np.asarray(numbers(i.header, "ImagePositionPatient", 3)) @ normal for i in images]
    )
    places = np.concatenate([[0], np.cumsum(np.diff(along) > SAME_POSITION_MM)])
    return max(Counter(places.tolist()).values())


def normal_of(header: Dataset) -> NDArray[np.float64]:
    """Unit vector [3] in LPS, row direction x column direction of one image."""
    cosines = np.asarray(numbers(header, "ImageOrientationPatient", 6))
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def plane_of(header: Dataset) -> str:
    """axial, coronal or sagittal, whichever the image is nearest to."""
    return PLANES[::-1][int(np.argmax(np.abs(normal_of(header))))]
