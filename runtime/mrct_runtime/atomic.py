"""Files that appear under their name whole, on the disk, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(
    path: Path, content: bytes | str, *, beside: Path | None = None, mode: int = 0o666
) -> None:
    """The file, which holds this content (text as UTF-8) from now on, also after a power cut; OSError where it cannot.

    Until then it has another name in its own folder, or in `beside` of the same file system, where the folder may hold
    nothing else at any moment. The user's mask is taken off `mode`.
    """
    whole = memoryview(content.encode() if isinstance(content, str) else content)
    partial = (beside or path.parent) / f".{path.name}.{secrets.token_hex(4)}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            written = 0
            while written < len(whole):
                written += file.write(whole[written:]) or 0
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Makes the system write a file's content, or a folder's entries, to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
