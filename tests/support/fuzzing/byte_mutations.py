"""Mutations that know nothing of a format: each is new content out of content, by the chance that is given."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import TypeAlias

Mutation: TypeAlias = Callable[[bytes, Random], bytes]

_LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0x80000000)
_LARGEST = {2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}
_SPAN = 64


def flipped(content: bytes, chance: Random) -> bytes:
    """A few bits are others."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 8) if found else 0):
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def overwritten(content: bytes, chance: Random) -> bytes:
    """A few bytes are ones that programs trip over."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4) if found else 0):
        found[chance.randrange(len(found))] = chance.choice(b'\x00\xff\x7f\x80\n\\"[{-.e/\x1b')
    return bytes(found)


def cut(content: bytes, chance: Random) -> bytes:
    """The content ends early."""
    return content[: chance.randrange(len(content) + 1)]


def lengthened(content: bytes, chance: Random) -> bytes:
    """Something follows the end."""
    return content + bytes(chance.choices(range(256), k=chance.randint(1, 300)))


def without_a_span(content: bytes, chance: Random) -> bytes:
    """A span is taken out."""
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def with_a_span_twice(content: bytes, chance: Random) -> bytes:
    """A span follows itself, once or many times."""
    start, end = _span(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 1, 2, 1000)) + content[end:]


def with_spans_swapped(content: bytes, chance: Random) -> bytes:
    """Two neighbouring spans change places."""
    start, middle = _span(content, chance)
    end = min(len(content), middle + chance.randint(1, _SPAN))
    return content[:start] + content[middle:end] + content[start:middle] + content[end:]


def with_a_length(content: bytes, chance: Random) -> bytes:
    """Two, four or eight bytes are a number that no length should be, in either order of bytes."""
    size = chance.choice((2, 4, 4, 8))
    if len(content) < size:
        return content
    at = chance.randrange(len(content) - size + 1)
    value = chance.choice((*_LENGTHS, _LARGEST[size], _LARGEST[size] - 1)) & _LARGEST[size]
    packed = struct.pack(
        f"{chance.choice('<>')}{ {2: 'H', 4: 'I', 8: 'Q'}[size] }".replace(" ", ""), value
    )
    return content[:at] + packed + content[at + size :]


def zeroed(content: bytes, chance: Random) -> bytes:
    """A span is zeros, as after a crash of the file system."""
    start, end = _span(content, chance)
    return content[:start] + bytes(end - start) + content[end:]


def spliced(content: bytes, chance: Random) -> bytes:
    """The beginning of the content, and then some other part of it."""
    return content[: chance.randrange(len(content) + 1)] + content[_span(content, chance)[0] :]


def _span(content: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    length = chance.choice((1, 2, 4, chance.randint(1, _SPAN), len(content) // 3))
    return start, min(len(content), start + length)


BYTES: tuple[Mutation, ...] = (
    *(flipped, overwritten, cut, lengthened, without_a_span),
    *(with_a_span_twice, with_spans_swapped, with_a_length, zeroed, spliced),
)
