"""Recipes as text: TOML, read and written, and YAML, read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from mrct_runtime import structured_text
from mrct_runtime.errors import UsageError

Table: TypeAlias = dict[str, Any]


def from_toml(text: str, source: str) -> Table:
    """The table of a TOML text; a UsageError names its source."""
    try:
        return structured_text.from_toml(text)
    except ValueError as error:
        raise UsageError(f"{source}: not TOML: {error}") from error


def from_yaml(text: str, source: str) -> Table:
    """The table of a YAML text, its words and numbers those of YAML 1.2; a UsageError names its source."""
    try:
        from mrct_train.yaml_table import TableError, read
    except ImportError as error:
        raise UsageError(
            f"{source}: PyYAML is not installed: pip install 'mrct[train]', or write the recipe as TOML"
        ) from error
    try:
        return read(text)
    except TableError as error:
        raise UsageError(f"{source}: not YAML: {error}") from error


READERS: Final[Mapping[str, Callable[[str, str], Table]]] = MappingProxyType(
    {".toml": from_toml, ".yaml": from_yaml, ".yml": from_yaml}
)
"""The reader of each ending of a recipe's name."""


def to_toml(table: Mapping[str, Any]) -> str:
    """The table as TOML: the plain keys first, then a section for every inner table."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield f"\n[{prefix}{name}]"
            yield from _lines(value, f"{prefix}{name}.")


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            # JSON lets a raw DEL stand, TOML does not
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
