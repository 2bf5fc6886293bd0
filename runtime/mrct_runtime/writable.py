"""Whether a place can be written, asked before anything is computed for it; nothing is made there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mrct_runtime.errors import OutputError
from mrct_runtime.output_folder import not_writable

_EFFECTIVE = os.access in os.supports_effective_ids


def require_folder(path: Path) -> None:
    """OutputError where `path` is no folder that can be written, and none can be made there."""
    place = Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow a link
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise not_writable(path, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        raise not_writable(path, OSError(errno.EACCES, os.strerror(errno.EACCES)))


def require_file(path: Path) -> None:
    """OutputError where `path` cannot be written as a file in a folder that is there."""
    if str(path) == "-":
        return
    folder = path.absolute().parent
    if path.is_dir():
        reason = os.strerror(errno.EISDIR)
    elif not folder.is_dir():
        reason = f"there is no folder {folder}"
    elif not os.access(path if path.exists() else folder, os.W_OK, effective_ids=_EFFECTIVE):
        reason = os.strerror(errno.EACCES)
    else:
        return
    raise OutputError(f"{path} cannot be written: {reason}")
