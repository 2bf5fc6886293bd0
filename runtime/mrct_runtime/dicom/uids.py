"""UIDs made of what they name: a PACS that is sent the same thing twice keeps one of it."""

from __future__ import annotations

import hashlib
import uuid


def content_uid(*parts: str) -> str:
    """2.25 and the number of a UUID made of the parts' SHA-256 (RFC 9562, version 8), the same for the same parts.

    pydicom's own takes parts into account only below a root that belongs to somebody.
    """
    return uid_of(digest_of(*parts))


def digest_of(*parts: str) -> hashlib._Hash:
    """SHA-256 of the parts, each after its length, so that no two lists of parts are one text."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest


def uid_of(digest: hashlib._Hash) -> str:
    """2.25 and the number of a UUID of version 8 that has the digest's first bits."""
    number = int.from_bytes(digest.digest()[:16], "big")
    # the bits that say which version and variant of UUID it is
    number = number & ~(0xF << 76) | (8 << 76)
    number = number & ~(0b11 << 62) | (0b10 << 62)
    return f"2.25.{uuid.UUID(int=number).int}"
