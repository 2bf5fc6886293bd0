"""The file meta information of a DICOM file (PS3.10, 7.1): its class and transfer syntax, read within a limit."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from mrct_runtime.dicom.structure import KNOWN, LONG_FORMS, MalformedError
from mrct_runtime.dicom.window import Window

PREAMBLE: Final = 132
MAX_META: Final = 1 << 16
"""The most bytes that the file meta may have; what vendors put there is a few hundred."""

_GROUP, _COMMAND = 0x0002, 0x0000
_CLASS, _SYNTAX = 0x0002, 0x0010
# No element of the network's protocol is longer; and so none can be taken for one with a value representation.
_LONGEST_COMMAND: Final = 1024


@dataclass(frozen=True)
class FileMeta:
    """What the file says of itself before its data set, which begins at the byte `end`; empty where it says nothing."""

    kind: str
    syntax: str
    end: int


def read_meta(window: Window) -> FileMeta:
    """The file meta, and behind it the elements of the network's protocol that some programs leave there."""
    place = window.reach(0, PREAMBLE)
    if window.buffer[place + 128 : place + PREAMBLE] != b"DICM":
        raise MalformedError("damaged, it does not begin like a DICOM file")
    at, found = PREAMBLE, {_CLASS: "", _SYNTAX: ""}
    while at < window.size:
        place = window.reach(at, 12)
        if len(window.buffer) < place + 12:
            break
        group, element, vr, length = struct.unpack_from("<HH2sH", window.buffer, place)
        if group != _GROUP:
            break
        if vr not in KNOWN:
            raise MalformedError("damaged, its file meta cannot be read")
        value = at + 8
        if vr in LONG_FORMS:
            value, (length,) = at + 12, struct.unpack_from("<I", window.buffer, place + 8)
        at = value + length
        if at - PREAMBLE > MAX_META or at > window.size:
            raise MalformedError("damaged, an element of its file meta is too long")
        if element in found:
            place = window.reach(value, length)
            text = window.buffer[place : place + length].decode("ascii", "replace")
            found[element] = text.rstrip("\0 ")
    return FileMeta(found[_CLASS], found[_SYNTAX], _after_commands(window, at))


def _after_commands(window: Window, at: int) -> int:
    """Where the elements of group 0000 end, which are written without value representations."""
    while at + 8 <= window.size:
        place = window.reach(at, 8)
        group, _, length = struct.unpack_from("<HHI", window.buffer, place)
        if group != _COMMAND:
            break
        if length > _LONGEST_COMMAND:
            raise MalformedError("damaged, it begins with an element that is too long")
        at += 8 + length
    return at
