"""Values out of DICOM headers as plain Python, with the library's warnings held back: they quote patient data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

_DAMAGED = (
    *(BytesLengthException, ValueError, TypeError, OverflowError, AttributeError),
    *(NotImplementedError, LookupError),
)
# pydicom gives several decimal strings as the one, several binary numbers as the other
_SEVERAL = (MultiValue, list)


@contextmanager
def silenced() -> Iterator[None]:
    """A scope without Python warnings; pydicom's and highdicom's name the value that they dislike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def text(header: Dataset, keyword: str) -> str:
    r"""The element as text, several values joined by a backslash; empty where it is absent or undecodable."""
    value = _value(header, keyword)
    if value is None:
        return ""
    values = value if isinstance(value, _SEVERAL) else [value]
    return "\\".join(str(v).strip() for v in values)


def number(header: Dataset, keyword: str) -> float | None:
    """The element's first value as a finite float, or None."""
    value = _value(header, keyword)
    if isinstance(value, _SEVERAL):
        value = value[0] if value else None
    return _finite(value)


def only_number(header: Dataset, keyword: str) -> float | None:
    """The element's one value as a finite float, None where it is absent or empty; ValueError where it is anything else."""
    raw = header.get_item(keyword).value if keyword in header else None
    if raw is None or (isinstance(raw, bytes | str) and not raw.strip()):
        return None
    value = _value(header, keyword)
    found = None if isinstance(value, _SEVERAL) else _finite(value)
    if found is None:
        raise ValueError(f"{keyword} is not one number")
    return found


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The element's values as `count` finite floats, or None."""
    value = _value(header, keyword)
    if not isinstance(value, _SEVERAL) or len(value) != count:
        return None
    found = [_finite(v) for v in value]
    return None if None in found else tuple(v for v in found if v is not None)


def _value(header: Dataset, keyword: str) -> object:
    # Elements are parsed when first looked at, so a damaged one raises here and counts as absent.
    try:
        with silenced():
            value: object = header.get(keyword)
    except _DAMAGED:
        return None
    return None if value is None or value == "" else value


def _finite(value: object) -> float | None:
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None
