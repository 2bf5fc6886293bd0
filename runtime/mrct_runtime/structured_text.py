"""JSON and TOML texts as values, where a ValueError is all that can come of a text that is none."""

from __future__ import annotations

import json
import re
import tomllib
from reprlib import Repr
from typing import Any, Final

_MOST_PARTS: Final = 100
"""A dotted key of n parts takes n^2 memory and time: one of twenty thousand takes gigabytes."""
_KEYS: Final = re.compile(r"[=\n,{]")


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, and where it is nested too deeply to be followed."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def from_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; ValueError where it is none, and where it is nested too deeply to be followed."""
    if any(part.count(".") >= _MOST_PARTS for part in _KEYS.split(text)):
        raise ValueError("it is nested too deeply")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def shown(value: Any) -> str:
    """The beginning of a value: a few lines of YAML can name one so often that all of it fills the memory."""
    shortened = Repr()
    shortened.maxlevel, shortened.maxstring, shortened.maxother = 2, 100, 100
    try:
        return shortened.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
