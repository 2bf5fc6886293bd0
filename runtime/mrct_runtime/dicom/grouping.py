"""Images of a folder grouped into stacks, each a candidate for one volume."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, eq=False)
class SeriesGroup:
    """A stack: images of one series that share orientation, matrix, pixel spacing and echo; headers without pixels.

    `names` are what --series takes, the shortest first: the series' number, where no other series has it, or its UID;
    with :1, :2 and so on where several stacks have that. `part` tells what is special to the stack among those of its series.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    headers: tuple[Dataset, ...]
    files: tuple[Path, ...]
    names: tuple[str, ...] = ()
    part: str = ""

    def __str__(self) -> str:
        shown = "without a number" if self.number is None else str(self.number)
        stack = "".join(self.name.partition(":")[1:]) if self.named_by_number else ""
        return f"series {shown}{stack} '{self.description}'" + (
            f" ({self.part})" if self.part else ""
        )

    @property
    def name(self) -> str:
        """What --series takes for this stack and no other."""
        return self.names[0] if self.names else self.uid

    @property
    def named_by_number(self) -> bool:
        """False where another series has the number as well."""
        return len(self.names) > 1

    @property
    def study_uid(self) -> str:
        return text(self.headers[0], "StudyInstanceUID")

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector [3] in LPS perpendicular to the slices, row direction x column direction."""
        return normal_of(self.headers[0])

    @property
    def plane(self) -> str:
        """axial, coronal or sagittal, whichever the slices are nearest to."""
        return plane_of(self.headers[0])

    @property
    def tilt_deg(self) -> float:
        """Angle between the slices and the plane that they are nearest to, degrees."""
        return float(np.degrees(np.arccos(min(1.0, np.abs(self.normal).max()))))


def normal_of(header: Dataset) -> NDArray[np.float64]:
    """Unit vector [3] in LPS, row direction x column direction of one image."""
    cosines = np.asarray(numbers(header, "ImageOrientationPatient", 6))
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def plane_of(header: Dataset) -> str:
    """axial, coronal or sagittal, whichever the image is nearest to."""
    return PLANES[::-1][int(np.argmax(np.abs(normal_of(header))))]


def grouped(images: Iterable[Image]) -> tuple[SeriesGroup, ...]:
    """The stacks in the order of their series' numbers, those of a series always in the same order."""
    series: dict[tuple[str, ...], list[_Stack]] = {}
    for stack in _stacks(images):
        header = stack.images[0].header
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "Modality")
        series.setdefault(tuple(text(header, key) for key in keys), []).append(stack)
    groups = [group for stacks in series.values() for group in _groups(stacks)]
    # stable: the stacks of a series stay in their order
    return tuple(_named(sorted(groups, key=lambda g: (g.number is None, g.number or 0, g.uid))))


class _Stack(NamedTuple):
    """Images of one stack and what tells it apart: values to sort by, and words."""

    images: list[Image]
    order: tuple[tuple[float, str], ...] = ()
    words: tuple[str, ...] = ()


def _stacks(images: Iterable[Image]) -> list[_Stack]:
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
    return [stack for members in together for stack in _taken_apart(_Stack(members))]


def _key(header: Dataset) -> tuple[str, ...]:
    exact = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "EchoNumbers")
    measured = (*(numbers(header, "PixelSpacing", 2) or ()), number(header, "EchoTime") or 0.0)
    return (*(text(header, keyword) for keyword in exact), *(f"{value:.3f}" for value in measured))


def _taken_apart(stack: _Stack) -> list[_Stack]:
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


def _part(stack: _Stack, members: list[Image], value: str, words: str) -> _Stack:
    shown = words.format(value.replace("\\", " ") or "unknown")
    return _Stack(members, (*stack.order, _sortable(value)), (*stack.words, shown))


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


def _groups(stacks: list[_Stack]) -> list[SeriesGroup]:
    """The stacks of one series in their order; what differs between several becomes their part."""
    ordered = sorted(stacks, key=_order)
    traits = [_traits(stack.images[0].header) for stack in ordered]
    varying = [len(set(values)) > 1 for values in zip(*traits, strict=True)]
    found = []
    for stack, own in zip(ordered, traits, strict=True):
        words = [word for word, varies in zip(own, varying, strict=True) if varies and word]
        header = stack.images[0].header
        series_number = number(header, "SeriesNumber")
        group = SeriesGroup(
            uid=text(header, "SeriesInstanceUID"),
            number=None if series_number is None else int(series_number),
            description=_printable(text(header, "SeriesDescription")),
            modality=text(header, "Modality"),
            headers=tuple(image.header for image in stack.images),
            files=tuple(image.path for image in stack.images),
            part=_printable(", ".join([*words, *stack.words])),
        )
        found.append(group)
    return found


def _printable(value: str) -> str:
    """The text on one line, without what would command a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in value)


def _named(groups: list[SeriesGroup]) -> Iterator[SeriesGroup]:
    """The groups with their names; of a number that two series have, only the UIDs are names."""
    of_uid = Counter((g.modality, g.uid) for g in groups)
    of_number = Counter((g.modality, g.number) for g in groups)
    uids: dict[tuple[str, int | None], set[str]] = {}
    for group in groups:
        uids.setdefault((group.modality, group.number), set()).add(group.uid)
    met: Counter[tuple[str, str | int | None]] = Counter()
    for group in groups:
        by_uid, by_number = (group.modality, group.uid), (group.modality, group.number)
        met.update((by_uid, by_number))
        names = [_counted(group.uid, met[by_uid], of_uid[by_uid])]
        if group.number is not None and len(uids[by_number]) == 1:
            names.insert(0, _counted(str(group.number), met[by_number], of_number[by_number]))
        yield replace(group, names=tuple(names))


def _counted(name: str, place: int, count: int) -> str:
    return name if count == 1 else f"{name}:{place}"


def _order(stack: _Stack) -> tuple[object, ...]:
    header = stack.images[0].header
    place = numbers(header, "ImagePositionPatient", 3)
    measures = (number(header, "EchoTime") or 0.0, *(numbers(header, "PixelSpacing", 2) or ()))
    return (PLANES.index(plane_of(header)), measures, stack.order, place)


def _traits(header: Dataset) -> tuple[str, ...]:
    """What any two stacks of a series may differ in, in words."""
    spacing = " x ".join(f"{mm:.4g}" for mm in numbers(header, "PixelSpacing", 2) or ())
    echo = number(header, "EchoTime")
    series_number = number(header, "SeriesNumber")
    return (
        "" if series_number is None else f"number {series_number:g}",
        plane_of(header),
        f"{header.Rows} x {header.Columns}",
        f"{spacing} mm",
        "" if echo is None else f"TE {echo:g} ms",
    )
