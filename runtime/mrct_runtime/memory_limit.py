"""A limit on this process's memory, for one that works on what strangers sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# What an interpreter with its libraries may have taken, where the system does not tell it.
_TAKEN: Final = 1 << 30


def limit_memory(more_bytes: int) -> bool:
    """False where the system has no such limit. From now on this process may take so many bytes beside those that it has.

    Beyond them an allocation fails, as it does on a machine that is full.
    """
    if sys.platform == "win32":
        return False
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _taken() + more_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError):  # macOS knows the name alone
        return False
    return True


def _taken() -> int:
    """The bytes of this process's address space."""
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return _TAKEN
    return pages * resource.getpagesize()
