"""Paired data sets: folders of subjects with an MR and a CT each, in one of several layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from mrct_runtime.errors import NoInputError
from mrct_runtime.paired import dicom, nifti, png
from mrct_runtime.paired.inspection import Inspection, complaints, inspect
from mrct_runtime.paired.preparation import Preparation, Slices, digest, prepare
from mrct_runtime.paired.values import VIEWS, Pair, Subject, View

__all__ = [
    "LAYOUTS",
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
    "passed_over",
    "prepare",
]

Find: TypeAlias = Callable[[Path], list[Subject]]

LAYOUTS: Final[Mapping[str, Find]] = MappingProxyType(
    {layout.NAME: layout.find for layout in (png, nifti, dicom)}
)
"""Layout -> the subjects that it finds in a folder, none where the folder has another layout."""


def find_subjects(folder: Path, pattern: str = "*") -> list[Subject]:
    """The subjects of a data set whose names match the pattern (*, ?, [...]), sorted by name.

    Where two layouts find a subject of one name, the earlier one has it: prepared files go before raw studies.
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
    return [found[name] for name in names]


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
