"""What lies in a folder: MR and CT images, grouped into candidates for one volume each, and what is none."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from mrct_runtime.dicom.grouping import SeriesGroup, grouped
from mrct_runtime.dicom.header import silenced, text
from mrct_runtime.dicom.image_file import NoImage, Unusable, images_in
from mrct_runtime.dicom.stacks import Image
from mrct_runtime.errors import InputRejectedError, NoInputError


@dataclass(frozen=True, eq=False)
class Scan:
    """All that a folder holds of MR and CT, and how many DICOM objects of other kinds."""

    groups: tuple[SeriesGroup, ...]
    unusable: tuple[Unusable, ...]
    others: Mapping[str, int] = field(default_factory=dict)


def scan(folder: Path | str) -> Scan:
    """The MR and CT series under a folder, by headers alone; files that are not DICOM are passed over."""
    root = Path(folder)
    if not root.is_dir():
        raise NoInputError(f"{root.name or root}: no such folder; name the folder of a DICOM study")
    unusable: list[Unusable] = []
    images: list[Image] = []
    others: Counter[str] = Counter()
    seen: dict[str, list[str]] = {}
    with silenced():
        for path in dicom_files(root):
            found = images_in(path)
            if isinstance(found, Unusable):
                unusable.append(found)
            elif isinstance(found, NoImage):
                others[found.kind] += 1
            elif (uid := text(found[0], "SOPInstanceUID")) not in seen:
                seen[uid] = _places(found)
                images += [Image(path, header) for header in found]
            # The same instance twice is a copy of the file, not a second slice.
            elif seen[uid] != _places(found):
                series = text(found[0], "SeriesInstanceUID")
                unusable.append(Unusable(path.name, series, "another image under the same UID"))
        if not (images or unusable or others):
            raise NoInputError(
                f"{root.name or root}: no DICOM files; name the folder of a DICOM study"
            )
        return Scan(grouped(images), tuple(unusable), dict(sorted(others.items())))


def _places(headers: list[Dataset]) -> list[str]:
    """Where the images of a file lie: what no two of one UID differ in, however often they were sent and stored."""
    return [text(header, "ImagePositionPatient") for header in headers]


def dicom_files(root: Path, *, deep: bool = True) -> Iterator[Path]:
    """Files with DICOM's prefix, and files that have it by their name alone: those were cut or overwritten."""
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(folders) if deep else []
        paths = [path for path in (Path(folder, name) for name in sorted(names)) if _is_file(path)]
        whole = {path for path in paths if _has_prefix(path)}
        series = {_pattern(path.name) for path in whole}
        for path in paths:
            if path in whole or _pattern(path.name) in series or _is_named_dicom(path):
                yield path


def _refuse(error: OSError) -> None:
    """Slices may lie in a folder that cannot be read, and would be missed without a gap to notice."""
    raise InputRejectedError(
        f"a folder of the study cannot be read ({error.strerror}); give the right to read all of it"
    ) from error


def _is_file(path: Path) -> bool:
    """True but for what blocks whoever opens it, such as a pipe."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        # a link to nowhere is told as an unreadable file, where its name is a slice's
        return path.is_symlink()


def _has_prefix(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _pattern(name: str) -> str:
    """The name with every number as 0: IM12 and IM7 are slices of one series, README is not."""
    return re.sub(r"[0-9]+", "0", name)


def _is_named_dicom(path: Path) -> bool:
    # macOS leaves ._name.dcm beside name.dcm on foreign disks.
    return path.suffix.lower() == ".dcm" and not path.name.startswith("._")
