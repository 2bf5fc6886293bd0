"""Paired data sets: folders of subjects with an MR and a CT each, in one of several layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from mrct_runtime.dicom.scanning import dicom_files
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.paired import dicom, nifti, png
from mrct_runtime.paired.inspection import Inspection, complaints, inspect
from mrct_runtime.paired.preparation import Preparation, Slices, digest, prepare
from mrct_runtime.paired.values import VIEWS, Pair, Subject, View

__all__ = [
    "LAYOUTS",
    "PARTS",
    "VIEWS",
    "Inspection",
    "Pair",
    "Preparation",
    "Slices",
    "Subject",
    "View",
    "complaints",
    "digest",
    "find_subjects",
    "inspect",
    "is_study",
    "passed_over",
    "prepare",
    "refuse_test_alone",
]

PARTS: Final = ("train", "test")
"""The folders that a data set may divide its subjects into."""

Find: TypeAlias = Callable[[Path], list[Subject]]

LAYOUTS: Final[Mapping[str, Find]] = MappingProxyType(
    {layout.NAME: layout.find for layout in (png, nifti, dicom)}
)
"""Layout -> the subjects that it finds in a folder, none where the folder has another layout."""


def find_subjects(folder: Path, pattern: str = "*") -> list[Subject]:
    """The subjects of a data set whose names match the pattern (*, ?, [...]), sorted by name.

    Where two layouts find a subject of one name, the earlier one has it: prepared files go before raw studies. Elsewhere
    a subject inside another one's folder is refused, for both may be one patient.
    """
    if not folder.is_dir():
        raise NoInputError(f"{folder}: no such folder; name the folder of a paired data set")
    found: dict[str, Subject] = {}
    for find in LAYOUTS.values():
        found = {subject.name: subject for subject in _shortened(find(folder))} | found
    if not found:
        raise NoInputError(f"{folder}: no paired data here; known layouts: {', '.join(LAYOUTS)}")
    names = sorted(name for name in found if fnmatchcase(name, pattern))
    if not names:
        raise NoInputError(
            f"{folder}: none of its {len(found)} subjects is named like {pattern!r}, "
            f"the first is {min(found)}"
        )
    subjects = [found[name] for name in names]
    _refuse_nested(folder, subjects)
    return subjects


def is_study(folder: Path) -> bool:
    """True for a folder with DICOM that is no data set: no parts, no pictures, no files of volumes, no paired subjects."""
    if not folder.is_dir() or any((folder / part).is_dir() for part in PARTS):
        return False
    if not any(dicom_files(folder)) or png.find(folder) or nifti.find(folder):
        return False
    return not dicom.holds_subjects(folder)


def refuse_test_alone(folder: Path) -> None:
    """UsageError for a data set with a folder `test` and no `train`, lest its test subjects be trained on."""
    if (folder / "test").is_dir() and not (folder / "train").is_dir():
        raise UsageError(
            f"{folder}: has a folder test but none called train; name the folder of the subjects itself"
        )


def _refuse_nested(folder: Path, subjects: Sequence[Subject]) -> None:
    places = {_place(folder, subject): subject for subject in subjects}
    for place, subject in places.items():
        for above in place.parents:
            if above in places:
                raise InputRejectedError(
                    f"{subject.name} ({subject.layout}) lies in the folder of {places[above].name} "
                    f"({places[above].layout}): one patient twice? Move one of them out of the data set"
                )


def _place(folder: Path, subject: Subject) -> Path:
    """The folder of a subject: that of its volumes; of pictures or DICOM files the whole folder below the data set's."""
    inner = {file.relative_to(folder).parts[:-1] for file in subject.files}
    if subject.layout == nifti.NAME:
        return folder.joinpath(*inner.pop())
    tops = {parts[0] for parts in inner if parts}
    return folder / tops.pop() if len(tops) == 1 else folder


def passed_over(folder: Path, subjects: Sequence[Subject]) -> list[str]:
    """Folders beside those of the subjects that hold no MR and no CT of a known layout, relative to the data set."""
    places = {file.parent for subject in subjects for file in subject.files} - {folder}
    taken = {above for place in places for above in (place, *place.parents)}
    between = {place for place in taken - places if place.is_relative_to(folder)}
    return sorted(
        inner.relative_to(folder).as_posix()
        for place in between
        for inner in place.iterdir()
        if inner not in taken and inner.is_dir() and not inner.name.startswith(".")
    )


def _shortened(subjects: list[Subject]) -> list[Subject]:
    """The subjects called by their own folder's name alone, where that tells them apart."""
    names = [subject.name.rpartition("/")[2] for subject in subjects]
    if len(set(names)) < len(names):
        return subjects
    return [replace(subject, name=name) for subject, name in zip(subjects, names, strict=True)]
