"""What every DICOM file of a stranger passes before pydicom parses it: size, file meta, transfer syntax, structure.

Nothing here reads a value or a pixel, so that it costs a fraction of parsing and its memory does not depend on the file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread

from mrct_runtime.dicom.file_meta import PREAMBLE, read_meta
from mrct_runtime.dicom.structure import MalformedError, Outline, outline
from mrct_runtime.dicom.syntaxes import SYNTAXES, Syntax, why_not_read
from mrct_runtime.dicom.window import Window
from mrct_runtime.volume import MAX_VOXELS

MAX_HEADER: Final = 64 << 20
"""The most bytes that a header may have: it is held in memory."""
MAX_FILE: Final = 4 * MAX_VOXELS + MAX_HEADER
"""The most bytes that a file may have: the most voxels that are held, of four bytes each, and a header."""


@dataclass(frozen=True)
class Admission:
    """A file that may be parsed: its class as the file meta has it, its transfer syntax, and the structure of its header.

    Without an `outline` it is of a class that was not asked for, and may not: reports and raw data can be large.
    """

    kind: str
    syntax: Syntax | None
    outline: Outline | None
    size: int


def admit(path: Path, kinds: Collection[str] | None = None) -> Admission:
    """What the file is; MalformedError says why it may not be parsed. `kinds` are the classes of interest, all by default."""
    size = path.stat().st_size
    if size < PREAMBLE:
        raise MalformedError("damaged, it does not begin like a DICOM file")
    if size > MAX_FILE:
        raise MalformedError(f"of {size >> 20} MiB, more than the {MAX_FILE >> 20} that are read")
    with path.open("rb", buffering=0) as file:
        window = Window(file, size)
        meta = read_meta(window)
        if kinds is not None and meta.kind and meta.kind not in kinds:
            return Admission(meta.kind, SYNTAXES.get(meta.syntax), None, size)
        if why := why_not_read(meta.syntax):
            raise MalformedError(why)
        syntax = SYNTAXES[meta.syntax]
        found = outline(window, meta.end, syntax)
    if found.end - meta.end > MAX_HEADER:
        raise MalformedError(f"with a header of more than {MAX_HEADER >> 20} MiB, and so no image")
    return Admission(meta.kind, syntax, found, size)


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """The elements before the pixels, or those of some keywords alone; MalformedError where the file is not admitted."""
    admit(path)
    tags = None if keywords is None else list(keywords)
    return dcmread(path, stop_before_pixels=True, specific_tags=tags)


def syntax_of(path: Path) -> str:
    """The UID of a file's transfer syntax, by its file meta alone."""
    with path.open("rb", buffering=0) as file:
        return read_meta(Window(file, path.stat().st_size)).syntax
