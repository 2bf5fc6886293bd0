"""DICOM files that are made to hurt: headers of a real beginning, with bytes behind it that no program would write."""

import struct

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

LITTLE, BIG, IMPLICIT = ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
MR = "1.2.840.10008.5.1.4.1.1.4"
UNDEFINED = 0xFFFFFFFF
REFERENCED = 0x0008, 0x1140
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT"}


def meta(syntax, kind=MR):
    """Preamble and file meta of an image of a class."""
    elements = b"".join(
        element(*tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2))
        for tag, uid in (((2, 2), kind), ((2, 3), "1.2.3"), ((2, 0x10), syntax))
        if uid
    )
    return bytes(128) + b"DICM" + elements


def element(group, number, vr, value, *, syntax=LITTLE, length=None):
    """An element with its value, or with another length than its value has."""
    order = ">" if syntax == BIG else "<"
    length = len(value) if length is None else length
    if syntax == IMPLICIT:
        return struct.pack("<HHI", group, number, length) + value
    if vr in _LONG:
        return struct.pack(f"{order}HH2sHI", group, number, vr, 0, length) + value
    return struct.pack(f"{order}HH2sH", group, number, vr, length) + value


def item(value, *, syntax=LITTLE, length=None):
    order = ">" if syntax == BIG else "<"
    length = len(value) if length is None else length
    return struct.pack(f"{order}HHI", 0xFFFE, 0xE000, length) + value


def delimiter(number, *, syntax=LITTLE):
    return struct.pack(f"{'>' if syntax == BIG else '<'}HHI", 0xFFFE, number, 0)


def nested(depth, tag=REFERENCED, vr=b"SQ", *, syntax=LITTLE, fixed=False):
    """Sequences within sequences; of given lengths, or left open and closed at the end."""
    inner = element(0x0008, 0x1150, b"UI", b"1.2.3\0", syntax=syntax)
    if fixed:
        for _ in range(depth):
            inner = element(*tag, vr, item(inner, syntax=syntax), syntax=syntax)
        return inner
    start = element(*tag, vr, b"", syntax=syntax, length=UNDEFINED)
    start += item(b"", syntax=syntax, length=UNDEFINED)
    end = delimiter(0xE00D, syntax=syntax) + delimiter(0xE0DD, syntax=syntax)
    return start * depth + inner + end * depth


def write(path, body, syntax=LITTLE, kind=MR):
    path.write_bytes(meta(syntax, kind) + body)
    return path
