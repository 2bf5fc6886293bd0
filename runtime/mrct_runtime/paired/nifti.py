"""Files of volumes: SUBJECT/{mr,ct,mask} as NIfTI or MetaImage, at any depth, as SynthRAD has them (Task1/brain/1BA001)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.paired.values import Pair, Subject
from mrct_runtime.volume import SAME_GRID_MM, Volume
from mrct_runtime.volume_files import READERS, ending

NAME: Final = "NIfTI or MetaImage"
STEMS: Final = MappingProxyType({"mr": "mr", "mri": "mr", "ct": "ct", "mask": "mask"})
"""File name without its ending -> what it shows."""

_LEVELS: Final = 5


def find(folder: Path) -> list[Subject]:
    """The subjects of a folder in this layout, or none; an MR or a CT makes a subject."""
    return [_subject(folder, place, images) for place, images in _places(folder, _LEVELS)]


def _places(folder: Path, levels: int) -> Iterator[tuple[Path, dict[str, str]]]:
    """Folders that hold an MR or a CT, with what their files show; what lies in them is not looked at."""
    images = {path.name: kind for path in sorted(folder.iterdir()) if (kind := _kind(path))}
    if {"mr", "ct"} & set(images.values()):
        yield folder, images
    elif levels:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _places(inner, levels - 1)


def _kind(path: Path) -> str:
    """mr, ct, mask, or empty for any other file."""
    known = ending(path.name)
    stem = path.name[: len(path.name) - len(known)] if known else ""
    return STEMS.get(stem.lower(), "") if path.is_file() else ""


def _subject(root: Path, place: Path, images: Mapping[str, str]) -> Subject:
    name = root.resolve().name if place == root else place.relative_to(root).as_posix()
    stems = {image.removesuffix(".mhd") for image in images if image.endswith(".mhd")}
    voxels = [f"{stem}{raw}" for stem in sorted(stems) for raw in (".raw", ".zraw")]
    files = [place / image for image in images]
    files += [place / file for file in voxels if (place / file).is_file()]
    return Subject(name, tuple(files), partial(_read, place, dict(images)), NAME)


def _read(place: Path, images: Mapping[str, str]) -> tuple[Pair, ...]:
    mr, ct = (_volume(place, images, kind) for kind in ("mr", "ct"))
    mask = None
    if "mask" in images.values():
        drawn = _volume(place, images, "mask")
        if not drawn.grid.matches(mr.grid, tolerance_mm=SAME_GRID_MM):
            raise InputRejectedError(
                f"the mask ({drawn.grid}) does not lie on the MR's grid ({mr.grid}), voxels up to "
                f"{drawn.grid.apart_mm(mr.grid):.2g} mm apart; resample it first"
            )
        mask = drawn.array > 0
    return (Pair(mr, ct, mask),)


def _volume(place: Path, images: Mapping[str, str], kind: str) -> Volume:
    """The one volume of that kind, its axes swapped and flipped so that slices are the axial ones."""
    found = [name for name, shows in images.items() if shows == kind]
    if not found:
        raise InputRejectedError(
            f"lacks the {kind.upper()}, a file {kind}{{{','.join(READERS)}}}; add it or take the folder out"
        )
    if len(found) > 1:
        raise InputRejectedError(f"has {' and '.join(found)}; leave one of them")
    return READERS[ending(found[0])](place / found[0]).canonical()
