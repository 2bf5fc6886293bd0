"""The header of a MetaImage, looked at before ITK reads it: what it claims is held against what its file holds.

ITK allocates what the header says, fills up with zeros what a compressed file lacks, and opens whatever file it names.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.volume import MAX_VOXELS

_LONGEST: Final = 1 << 16
_PIECE: Final = 1 << 20
_LAST: Final = "ElementDataFile"
_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
        **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
        **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
        **dict.fromkeys(("MET_LONG", "MET_ULONG"), 4),
        **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
    }
)


def check_metaimage(path: Path) -> None:
    """InputRejectedError where the file claims more than it holds, or than can be held, or voxels in a file elsewhere."""
    try:
        with path.open("rb") as file:
            fields = _fields(file)
            needed = _claimed(path, fields)
            if needed is None:
                return
            held = _held(path, file, fields, needed)
    except (OSError, ValueError, KeyError, OverflowError, zlib.error) as error:
        raise InputRejectedError(
            f"{path.name} cannot be read as MetaImage; export it again"
        ) from error
    if held < needed:
        raise InputRejectedError(
            f"{path.name} has {held} of the {needed} bytes of voxels that its header says; export it again"
        )
    if held > needed:
        raise InputRejectedError(
            f"{path.name} holds more than the {needed} bytes of voxels that its header says; export it again"
        )


def _fields(file: BinaryIO) -> dict[str, str]:
    """The lines of the header by their names; the voxels begin where the file then stands."""
    fields: dict[str, str] = {}
    while _LAST not in fields:
        line = file.readline(_LONGEST)
        if not line.endswith(b"\n") or file.tell() > _LONGEST:
            raise ValueError("no header")
        name, _, value = line.decode("latin-1").partition("=")
        fields[name.strip()] = value.strip()
    return fields


def _claimed(path: Path, fields: Mapping[str, str]) -> int | None:
    """The bytes of the voxels; None of what is no volume of numbers, which is refused by what it is."""
    sides = [int(side) for side in fields["DimSize"].split()]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    voxels = math.prod(sides) * channels
    size = _BYTES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if min(*sides, channels) < 1 or voxels > MAX_VOXELS:
        shown = " x ".join(map(str, sides))
        raise InputRejectedError(
            f"{path.name} claims {shown} voxels, not 1 to {MAX_VOXELS}; crop or resample it"
        )
    return None if size is None else voxels * size


def _held(path: Path, file: BinaryIO, fields: Mapping[str, str], needed: int) -> int:
    """The bytes of voxels that are there, counted to the first too many; those of plain files to as many as needed."""
    name = fields[_LAST]
    if name.upper() != "LOCAL":
        if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
            raise InputRejectedError(
                f"{path.name} has its voxels in another folder or in several files; export it as .mha"
            )
        with (path.parent / name).open("rb") as voxels:
            return _counted(voxels, fields, needed)
    return _counted(file, fields, needed)


def _counted(file: BinaryIO, fields: Mapping[str, str], needed: int) -> int:
    start = file.tell()
    length = file.seek(0, 2) - start
    file.seek(start)
    if fields.get("CompressedData", "F")[:1] not in {"T", "t", "1"}:
        return min(length, needed)
    if int(fields.get("CompressedDataSize", length)) > length:
        raise ValueError("more compressed bytes than the file has")
    return sum(_inflated(file, needed))


def _inflated(file: BinaryIO, needed: int) -> Iterator[int]:
    """The lengths of the pieces that a stream inflates to, which are not kept, until one byte more than needed."""
    stream, left = zlib.decompressobj(zlib.MAX_WBITS | 32), needed + 1
    while left > 0 and not stream.eof:
        packed = stream.unconsumed_tail or file.read(_PIECE)
        piece = len(stream.decompress(packed, min(_PIECE, left)))
        if not packed and not piece:
            break
        left -= piece
        yield piece
