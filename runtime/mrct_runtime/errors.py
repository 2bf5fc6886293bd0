"""Every error that mrct raises on purpose, with the exit code that the commands give it.

MrctError                 1  internal
├── UsageError            2  an option or argument that makes no sense
├── NoInputError          3  nothing usable in the input
├── InputRejectedError    4  input found and refused
│   └── SeriesError       4  a series or its geometry refused
├── BundleError           5  a model bundle that is missing, changed or invalid
├── OutputError           6  output not writable, locked or full
├── EngineError           7  a device or engine that is not available
│   └── DeviceMemoryError 7  too little memory on the device, also for one image
├── StudiesFailedError    8  of many studies, some or all
└── NumericError          9  a computation that went wrong

A message is one line: what is wrong, the value met, what to do. It never carries patient data.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar


def first_line(error: Exception) -> str:
    """What an error of a library says first; its name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def told(error: BaseException) -> str:
    """One line about an error: ours say what is wrong, of others only the kind and the place, for they may quote patient data."""
    if isinstance(error, MrctError):
        return " ".join(str(error).split())
    return f"internal: {type(error).__name__} at {_place(error)}"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "mrct_" in frame.filename] or list(frames)
    if not ours:
        return "an unknown place"
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


class MrctError(Exception):
    """The root of the tree; caught as such only at the border of a program."""

    exit_code: ClassVar[int] = 1


class UsageError(MrctError):
    """An option or argument that makes no sense, alone or together with the model."""

    exit_code = 2


class NoInputError(MrctError):
    """Nothing usable where the input was said to be."""

    exit_code = 3


class InputRejectedError(MrctError):
    """Input that was found and read, and is refused."""

    exit_code = 4


class SeriesError(InputRejectedError):
    """A DICOM series, or its geometry, that is refused."""


class BundleError(MrctError):
    """A model bundle that is missing, changed, or not valid."""

    exit_code = 5


class OutputError(MrctError):
    """An output place that cannot be written."""

    exit_code = 6


class EngineError(MrctError):
    """A device, package or engine that is not available or failed."""

    exit_code = 7


class DeviceMemoryError(EngineError):
    """Too little memory on the device; a smaller batch may fit."""


class StudiesFailedError(MrctError):
    """Of many studies, some or all have no result."""

    exit_code = 8


class NumericError(MrctError):
    """A computation whose result cannot be trusted."""

    exit_code = 9
