"""Images of a folder grouped into stacks, each a candidate for one volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mrct_runtime.dicom.header import number, numbers, text
from mrct_runtime.dicom.stacks import PLANES, Image, Stack, normal_of, plane_of, stacks_of


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


def grouped(images: Iterable[Image]) -> tuple[SeriesGroup, ...]:
    """The stacks in the order of their series' numbers, those of a series always in the same order."""
    series: dict[tuple[str, ...], list[Stack]] = {}
    for stack in stacks_of(images):
        header = stack.images[0].header
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "Modality")
        series.setdefault(tuple(text(header, key) for key in keys), []).append(stack)
    groups = [group for stacks in series.values() for group in _groups(stacks)]
    # stable: the stacks of a series stay in their order
    return tuple(_named(sorted(groups, key=lambda g: (g.number is None, g.number or 0, g.uid))))


def _groups(stacks: list[Stack]) -> list[SeriesGroup]:
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


def _order(stack: Stack) -> tuple[object, ...]:
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
