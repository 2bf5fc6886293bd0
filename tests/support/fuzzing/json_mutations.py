"""Mutations of JSON documents, and of line-wise texts such as TOML and YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from fuzzing.byte_mutations import Mutation

_RAW = "@raw@"
"""Stands in a document for text that no JSON writer gives."""
_NUMBERS = ("NaN", "-Infinity", "1e999", "-0", "1E400", "0x10", "1" + "0" * 5000, "9" * 30, "00")
_DEEP = ("[" * 100_000, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000)
_TEXTS = (r'"\ud800"', r'"\u0000"', '"' + "x" * 70_000 + '"', '"../../etc"', '"' + "é" * 40 + '"')
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 1e308, -1e-320, 0.1),
    *("", "1", "nan", "a\0b", "\x1b[2J", "/", [], {}, [[]], [0] * 1000, {"": None}),
)


def with_another_value(content: bytes, chance: Random) -> bytes:
    """Some value is of another kind or size."""
    return _changed(content, chance, lambda _: chance.choice(_VALUES))


def with_another_number(content: bytes, chance: Random) -> bytes:
    """Some number is another one, near it or far away."""

    def other(value: Any) -> Any:
        if not isinstance(value, int | float):
            return chance.choice(_VALUES)
        near = (value + 1, -value, value * 1000, value / 3, value * 1e300, 0)
        return chance.choice(near)

    return _changed(content, chance, other)


def with_text_that_is_no_value(content: bytes, chance: Random) -> bytes:
    """Some value is a number, a nesting or a text that the grammar or a reader's limits do not have."""
    raw = chance.choice((*_NUMBERS, *_DEEP, *_TEXTS))
    return _changed(content, chance, lambda _: _RAW).replace(f'"{_RAW}"'.encode(), raw.encode())


def without_a_value(content: bytes, chance: Random) -> bytes:
    """A key or an item is gone."""

    def change(holder: Any, key: Any) -> None:
        del holder[key]

    return _edited(content, chance, change)


def with_a_value_more(content: bytes, chance: Random) -> bytes:
    """A key or an item more."""

    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[chance.choice(("unknown", "", "__class__", "a" * 300))] = chance.choice(_VALUES)
        else:
            holder.insert(key, chance.choice((*_VALUES, holder[key])))

    return _edited(content, chance, change)


def with_values_swapped(content: bytes, chance: Random) -> bytes:
    """Two values have changed places."""
    document, places = _places(content)
    if len(places) < 2:
        return content
    (one, first), (other, second) = chance.sample(places, 2)
    try:
        one[first], other[second] = other[second], one[first]
        return _dumped(document)
    except (KeyError, IndexError, RecursionError, ValueError):  # one lay in the other
        return content


def with_a_key_twice(content: bytes, chance: Random) -> bytes:
    """A key that comes twice, with another value the second time."""
    start = content.find(b"{")
    document = _parsed(content)
    if start < 0 or not isinstance(document, dict) or not document:
        return content
    key = json.dumps(chance.choice(sorted(document)))
    value = json.dumps(chance.choice(_VALUES))
    return content[: start + 1] + f"{key}: {value}, ".encode() + content[start + 1 :]


def laid_out_anew(content: bytes, chance: Random) -> bytes:
    """The same document with other white space, and its keys in another order."""
    document = _parsed(content)
    if not isinstance(document, dict):
        return content
    names = list(document)
    chance.shuffle(names)
    return json.dumps(
        {name: document[name] for name in names}, indent=chance.randint(0, 7)
    ).encode()


def _changed(content: bytes, chance: Random, other: Callable[[Any], Any]) -> bytes:
    def change(holder: Any, key: Any) -> None:
        holder[key] = other(holder[key])

    return _edited(content, chance, change)


def _edited(content: bytes, chance: Random, change: Callable[[Any, Any], None]) -> bytes:
    document, places = _places(content)
    if not places:
        return content
    change(*chance.choice(places))
    try:
        return _dumped(document)
    except (RecursionError, ValueError):
        return content


def _dumped(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _places(content: bytes) -> tuple[Any, list[tuple[Any, Any]]]:
    document = _parsed(content)
    return document, list(_inside(document))


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    for key in keys:
        yield value, key
        yield from _inside(value[key])


JSON: tuple[Mutation, ...] = (
    *(with_another_value, with_another_number, with_text_that_is_no_value, without_a_value),
    *(with_a_value_more, with_values_swapped, with_a_key_twice),
)

_LINE_VALUES = (
    *(
        "",
        "nan",
        "-inf",
        "1e999",
        "0x7fffffffffffffffff",
        "9" * 5000,
        "0x" + "f" * 5000,
        "'",
        '"""',
        "[",
        "{",
        "true",
    ),
    *("1979-05-27T07:32:00Z", "24:60:60", "[" * 5000, "[" * 500 + "]" * 500, "{a=1,a=2}", "~"),
    *(
        "!!python/object/apply:os.abort []",
        "&a [*a]",
        "*unknown",
        "!!binary AA==",
        "-1",
        '"\\ud800"',
    ),
    *("{" * 2000, "- " * 2000, "? " * 2000, "1_000", "0o17", "[1, 'a']", "{x: {y: {}}}", "<<: 1"),
)
_LAUGHS = "l0: &l0 [1]\n" + "\n".join(
    f"l{k + 1}: &l{k + 1} [{', '.join([f'*l{k}'] * 9)}]" for k in range(9)
)
_LINES = (
    *(
        "[[table]]",
        "[a.b.c]",
        "[a]\n[a]",
        "a.b.c = 1",
        "\x00",
        "﻿",
        "= 1",
        "%YAML 9.9",
        "---",
        "...",
    ),
    _LAUGHS,
    "\n".join(f"[{'.'.join(['a'] * k)}]" for k in range(1, 400)),
    "x" + ".x" * 20_000 + " = 1",
)


def with_another_value_on_a_line(content: bytes, chance: Random) -> bytes:
    """What stands behind a line's first = or : is something else."""
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    sign = b"=" if b"=" in lines[at] else b":"
    name, _, _ = lines[at].partition(sign)
    lines[at] = name + sign + b" " + chance.choice(_LINE_VALUES).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def with_a_line_more(content: bytes, chance: Random) -> bytes:
    """A line of another kind, or one of its own again."""
    lines = content.split(b"\n")
    more = [line.encode() for line in _LINES] + lines[:3]
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(more))
    return b"\n".join(lines)


def with_lines_in_another_order(content: bytes, chance: Random) -> bytes:
    """Every line, somewhere else."""
    lines = content.split(b"\n")
    chance.shuffle(lines)
    return b"\n".join(lines)


LINES: tuple[Mutation, ...] = (
    *(with_another_value_on_a_line, with_another_value_on_a_line, with_a_line_more),
    with_lines_in_another_order,
)
