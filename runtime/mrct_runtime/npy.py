"""Arrays in NumPy's format as numpy.save writes them, read without evaluating the Python literal that is their header."""

from __future__ import annotations

import math
import mmap
import re
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

_MAGIC: Final = b"\x93NUMPY\x01\x00"
_DESCRIPTION: Final = re.compile(
    rb"\{'descr': '([<|][a-z][0-9]{1,2})', 'fortran_order': (False|True), 'shape': \(([0-9, ]{0,200})\), \} *\n"
)


def array(content: bytes | mmap.mmap) -> NDArray[Any]:
    """A view of the array that is all of `content`, not writable; ValueError where it is not one of plain numbers."""
    found, end = _array_at(content, 0)
    if end != len(content):
        raise ValueError(f"not an array of {found.shape} plain numbers: something follows it")
    return found


def mapped(path: Path) -> NDArray[Any]:
    """The file's array, of which memory holds what is looked at; ValueError as of `array`, OSError where it is not read."""
    return array(_map(path))


def each_mapped(path: Path) -> list[NDArray[Any]]:
    """The arrays that were saved into a file one after another, as of `mapped`."""
    content, end = _map(path), 0
    found = []
    while end < len(content):
        one, end = _array_at(content, end)
        found.append(one)
    return found


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _array_at(content: bytes | mmap.mmap, at: int) -> tuple[NDArray[Any], int]:
    """The array that begins there, and where it ends."""
    start = at + len(_MAGIC) + 2
    if content[at : at + len(_MAGIC)] != _MAGIC:
        raise ValueError("not the npy format 1.0")
    end = start + int.from_bytes(content[start - 2 : start], "little")
    found = _DESCRIPTION.fullmatch(content[start:end])
    if found is None:
        raise ValueError("not an array of plain numbers")
    try:
        kind = np.dtype(found[1].decode())
    except TypeError as error:
        raise ValueError("not an array of plain numbers") from error
    shape = tuple(int(size) for size in found[3].split(b",") if size.strip())
    count = math.prod(shape)
    if kind.hasobject or count * kind.itemsize > len(content) - end:
        raise ValueError(f"not an array of {shape} plain numbers")
    order: Literal["C", "F"] = "F" if found[2] == b"True" else "C"
    # NumPy makes no view of nothing
    values = np.frombuffer(content, kind, count, end) if count else np.empty(0, kind)
    return values.reshape(shape, order=order), end + count * kind.itemsize
