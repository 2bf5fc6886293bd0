"""DICOM studies: a folder a subject, with an MR and a CT series in one frame of reference, as Gold Atlas and `mrct phantom` have them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from pydicom import Dataset

from mrct_runtime.dicom.gatekeeper import read_header
from mrct_runtime.dicom.header import silenced, text
from mrct_runtime.dicom.image_file import READ_FAULTS
from mrct_runtime.dicom.reading import read_pair
from mrct_runtime.dicom.scanning import dicom_files
from mrct_runtime.errors import InputRejectedError, NoInputError
from mrct_runtime.paired.values import Pair, Subject
from mrct_runtime.volume import Volume

NAME: Final = "DICOM studies"
_INDEX: Final = "DICOMDIR"
_LINKS: Final = ("StudyInstanceUID", "FrameOfReferenceUID")


def find(folder: Path) -> list[Subject]:
    """The subjects of a folder in this layout: its subfolders with DICOM files, or itself where they are one study."""
    return [_subject(place, files) for place, files in _places(folder).items()]


def _places(folder: Path) -> dict[Path, tuple[Path, ...]]:
    """The folders of the subjects and their files."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    files = {path: tuple(dicom_files(path)) for path in inner}
    files = {path: found for path, found in files.items() if found}
    own = tuple(path for path in dicom_files(folder, deep=False) if path.name != _INDEX)
    if _are_one_study([found[0] for found in files.values()]) or (own and not files):
        return {folder: own + tuple(path for found in files.values() for path in found)}
    return files


def holds_subjects(folder: Path) -> bool:
    """True where subfolders pair MR with CT: one in a frame of reference, or several in whatever frames."""
    both = 0
    for place, files in _places(folder).items():
        frames: dict[str, set[str]] = {"MR": set(), "CT": set()}
        for path in files if place != folder else ():
            header = _header(path)
            modality = text(header, "Modality")
            if modality in frames:
                frames[modality].add(text(header, "FrameOfReferenceUID"))
            if (frames["MR"] & frames["CT"]) - {""}:
                return True
        both += bool(frames["MR"] and frames["CT"])
    return both > 1


def _subject(folder: Path, files: tuple[Path, ...]) -> Subject:
    return Subject(folder.resolve().name, files, partial(_read, folder), NAME)


def _are_one_study(firsts: list[Path]) -> bool:
    """True for a folder of series: several modalities that share a study or a frame of reference."""
    headers = [_header(path) for path in firsts]
    if len({text(header, "Modality") for header in headers}) < 2:
        return False
    shared = ({text(header, keyword) for header in headers} for keyword in _LINKS)
    return any(len(values) == 1 and "" not in values for values in shared)


def _header(path: Path) -> Dataset:
    try:
        with silenced():
            return read_header(path, ["Modality", *_LINKS])
    except READ_FAULTS:
        return Dataset()


def _read(folder: Path) -> tuple[Pair, ...]:
    try:
        mr, ct = read_pair(folder)
    except NoInputError as error:
        # what is no input for a translation is here a subject that was found and cannot be used
        raise InputRejectedError(str(error)) from error
    on_mr = Volume(ct.volume.array, mr.volume.grid)
    source = f"MR {mr}, CT {ct}"
    return (Pair(mr.volume, on_mr, notes=(*mr.notes, *ct.notes), source=source),)
