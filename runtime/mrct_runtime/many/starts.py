"""How often a study's translation began and ended neither well nor with an error: the process had died."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mrct_runtime.atomic import write_atomically
from mrct_runtime.errors import MrctError
from mrct_runtime.output_folder import OutputFolder, not_writable
from mrct_runtime.structured_text import from_json

_STARTS: Final = "starts.json"
MOST_STARTS: Final = 3
"""A study at which the process has died so often without finishing a slice is given up."""


@contextmanager
def counted(folder: OutputFolder) -> Iterator[None]:
    """The block is one start of the study; MrctError where it would be one too many.

    A start that finished slices is none: a long study may well be killed by the end of a job, and go on in the next.
    """
    file, kept = folder.reserved.folder / _STARTS, _slices(folder.journal)
    starts, before = _read(file)
    starts = 0 if kept > before else starts
    if starts >= MOST_STARTS:
        raise MrctError(
            f"the process died {starts} times in the middle of this study, without finishing a slice; --retry tries again"
        )
    try:
        write_atomically(file, json.dumps([starts + 1, kept]).encode())
    except OSError as error:
        raise not_writable(folder.target, error) from error
    try:
        yield
    finally:
        # a process that unwinds has not died; what failed or is finished is removed with its folder
        file.unlink(missing_ok=True)


def _slices(journal: Path) -> int:
    return sum(1 for _ in journal.glob("*.npy"))


def _read(file: Path) -> tuple[int, int]:
    """The starts so far and the slices that were finished at the last; none where the file is not there."""
    try:
        starts, kept = map(int, from_json(file.read_bytes()))
    except (OSError, ValueError, TypeError, OverflowError):
        return 0, 0
    return starts, kept
