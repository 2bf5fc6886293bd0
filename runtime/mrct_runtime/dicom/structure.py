"""The structure of a data set, walked over its bytes before a library parses it: no value is read or kept.

Tags, lengths and nesting are followed as pydicom will follow them, in its leniences too: what the walk passes over in
one step must be what the parser takes in one piece, or limits would hold for another structure than the parser's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from mrct_runtime.dicom.syntaxes import Syntax
from mrct_runtime.dicom.window import Window

MAX_DEPTH: Final = 32
"""Sequences within sequences; frames of real images are described in two or three, reports in a dozen."""
MAX_ELEMENTS: Final = 1 << 21
"""Elements of a header: those of 10,000 frames that are described by 200 each."""
MAX_ITEMS: Final = 1 << 18
"""Items of sequences, which take the parser far longer than elements do."""

UNDEFINED: Final = 0xFFFFFFFF
LONG_FORMS: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
"""Value representations that are written with a length of four bytes."""
KNOWN: Final = frozenset(vr.encode() for vr in VR)
"""All that DICOM knows."""

_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CUT: Final = "damaged, it ends within an element"


class MalformedError(ValueError):
    """A file whose structure is wrong or beyond a limit: what the file is, as words that may stand in a message."""


@dataclass(frozen=True)
class Outline:
    """What a data set holds: elements and items before its pixels, the deepest nesting, and where the pixels are.

    `pixels` is the place of their value in the file and its length, UNDEFINED where they are compressed; None where
    there are none. `end` is the byte at which the header ends.
    """

    elements: int
    items: int
    depth: int
    end: int
    pixels: tuple[int, int] | None


@dataclass(slots=True)
class _Scope:
    """A data set or a sequence that the walk is in; `end` where its length is given, and else that of what it lies in."""

    is_sequence: bool
    explicit: bool
    end: int
    hard_end: int
    is_open: bool = False

    @property
    def is_fixed(self) -> bool:
        """True for a sequence of a given length, which the parser cuts out whole."""
        return self.is_sequence and not self.is_open


def outline(window: Window, start: int, syntax: Syntax) -> Outline:
    """The structure of the data set that begins at `start`, up to its pixels; MalformedError beyond a limit or the file."""
    return _Walk(window, start, syntax).run()


@cache
def _sequences() -> frozenset[int]:
    """The tags whose elements are sequences where no value representation says it."""
    return frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")


class _Walk:
    def __init__(self, window: Window, start: int, syntax: Syntax) -> None:
        self._window, self._at = window, start
        order = "<" if syntax.little_endian else ">"
        self._explicit_form = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit_form = struct.Struct(f"{order}HHI").unpack_from
        self._length_form = struct.Struct(f"{order}I").unpack_from
        self._count = self._items = self._depth = self._deepest = 0
        self._pixels: tuple[int, int] | None = None
        # the parser believes the first element more than the transfer syntax
        explicit = self._has_vr(start, syntax.explicit)
        self._scopes = [_Scope(False, explicit, window.size, window.size)]

    def run(self) -> Outline:
        start = self._at
        while self._scopes:
            scope = self._scopes[-1]
            if self._at >= scope.end:
                self._leave()
            elif scope.is_sequence:
                self._item(scope)
            else:
                self._elements(scope)
        end = max(start, self._at)
        return Outline(self._count, self._items, self._deepest, end, self._pixels)

    def _has_vr(self, at: int, assumed: bool) -> bool:  # noqa: FBT001 - what the parser assumes
        """True where the element at a place has two capitals for a value representation."""
        place = self._window.reach(at, 6)
        vr = self._window.buffer[place + 4 : place + 6]
        return assumed if len(vr) < 2 else all(0x40 < letter < 0x5B for letter in vr)

    def _leave(self) -> None:
        scope = self._scopes.pop()
        self._depth -= scope.is_sequence
        if scope.is_fixed:
            self._at = scope.end
        elif scope.is_sequence and scope.end == self._window.size:
            raise MalformedError("damaged, it ends within a sequence")

    def _enter(self, value: int, length: int, scope: _Scope, *, explicit: bool) -> None:
        """Steps into the sequence whose value begins at a place."""
        self._at = value
        if length == 0:
            return
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        if self._depth > MAX_DEPTH:
            raise MalformedError(f"nested deeper than {MAX_DEPTH} sequences, and so no image")
        is_open = length == UNDEFINED
        end = scope.hard_end if is_open else self._within(value + length, scope.hard_end)
        hard_end = scope.hard_end if is_open else end
        self._scopes.append(_Scope(True, explicit, end, hard_end, is_open))

    def _within(self, end: int, hard_end: int) -> int:
        """An end that is given, at most that of the sequence which the parser has cut out; never beyond the file."""
        if end > hard_end == self._window.size:
            raise MalformedError(_CUT)
        return min(end, hard_end)

    def _counted(self, count: int) -> None:
        self._count = count
        if count > MAX_ELEMENTS:
            raise MalformedError(f"of more than {MAX_ELEMENTS} elements, and so no image")

    def _counted_item(self) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise MalformedError(f"of more than {MAX_ITEMS} items in sequences, and so no image")

    def _item(self, scope: _Scope) -> None:
        """Steps into the next item of a sequence, or past the sequence's end."""
        place = self._window.reach(self._at, 8)
        if len(self._window.buffer) < place + 8:
            raise MalformedError("damaged, it ends within a sequence")
        group, element, length = self._implicit_form(self._window.buffer, place)
        self._at += 8
        if group << 16 | element == _SEQUENCE_END:
            self._scopes.pop()
            self._depth -= 1
            self._at = scope.end if scope.is_fixed else self._at
            return
        self._counted_item()
        if length == 0:
            return
        # the parser takes any other tag for that of an item
        end = scope.hard_end
        if length != UNDEFINED:
            end = self._within(self._at + length, end)
        # items may lack value representations where the data set has them, not the other way
        explicit = scope.explicit and self._has_vr(self._at, True)
        self._scopes.append(_Scope(False, explicit, end, scope.hard_end, length == UNDEFINED))

    def _elements(self, scope: _Scope) -> None:
        """Passes over elements until one is a sequence or the data set ends."""
        window, at, count = self._window, self._at, self._count
        is_top, read = len(self._scopes) == 1, self._explicit if scope.explicit else self._implicit
        sequences = _sequences()
        while at < scope.end:
            place = window.reach(at, 12)
            if len(window.buffer) < place + 8:
                if not is_top:
                    raise MalformedError(_CUT)
                at = scope.end
                break
            tag, vr, length, before = read(window.buffer, place)
            value = at + before
            if is_top and tag == _ITEM_END:
                # the parser stops here in some places and goes on in others
                raise MalformedError("damaged, it ends an item that did not begin")
            if tag == _ITEM_END or (is_top and tag in _PIXELS):
                self._pixels = (value, length) if tag in _PIXELS else None
                at = at if tag in _PIXELS else value
                self._scopes.pop()
                break
            count += 1
            if vr == b"SQ" or length == UNDEFINED or (vr in {b"", b"UN"} and tag in sequences):
                self._step_in(tag, vr, value, length, scope)
                at = self._at
                break
            at = value + length
            if at > scope.hard_end == window.size:
                raise MalformedError(_CUT)
        self._at = at
        self._counted(count)

    def _explicit(self, buffer: bytes, place: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation, length, and how many bytes these take; as the parser guesses them where they are odd."""
        group, element, vr, length = self._explicit_form(buffer, place)
        if vr in LONG_FORMS:
            if len(buffer) < place + 12:
                raise MalformedError(_CUT)
            (length,) = self._length_form(buffer, place + 8)
            return group << 16 | element, vr, length, 12
        if vr not in KNOWN and not b"AA" <= vr <= b"ZZ":
            return self._implicit(buffer, place)
        return group << 16 | element, vr, length, 8

    def _implicit(self, buffer: bytes, place: int) -> tuple[int, bytes, int, int]:
        group, element, length = self._implicit_form(buffer, place)
        return group << 16 | element, b"", length, 8

    def _step_in(self, tag: int, vr: bytes, value: int, length: int, scope: _Scope) -> None:
        """Into a sequence, or past the fragments of pixels in an icon."""
        is_sequence = vr in {b"SQ", b"UN"} or tag in _sequences()
        if is_sequence or (vr == b"" and tag not in DicomDictionary):
            self._enter(value, length, scope, explicit=scope.explicit)
            return
        self._at = value
        while True:
            place = self._window.reach(self._at, 8)
            if len(self._window.buffer) < place + 8:
                raise MalformedError(_CUT)
            group, element, length = self._implicit_form(self._window.buffer, place)
            self._at += 8
            if group << 16 | element == _SEQUENCE_END:
                return
            if group << 16 | element != _ITEM or length == UNDEFINED:
                raise MalformedError("damaged, an element without a length does not end")
            self._at += length
            self._counted_item()
