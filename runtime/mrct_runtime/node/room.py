"""Whether there is room for more: on the spool's disk, and within what the spool may take of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from mrct_runtime.node.configuration import Limits
from mrct_runtime.node.spool import Spool

_FRESH_S: Final = 10.0


@dataclass(eq=False)
class Room:
    """Counts the spool's bytes now and then, and adds what came since."""

    spool: Spool
    limits: Limits
    _used: int = 0
    _counted: float = -_FRESH_S
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self) -> str:
        """Why nothing more can be taken; empty where it can."""
        if self.spool.bytes_free() < self.limits.free_bytes:
            return "disk low"
        return "spool full" if self.used() >= self.limits.spool_bytes else ""

    def used(self) -> int:
        """Bytes that the spool takes."""
        with self._lock:
            if time.monotonic() - self._counted > _FRESH_S:
                self._used = self.spool.bytes_used()
                self._counted = time.monotonic()
            return self._used

    def add(self, size: int) -> None:
        """So many bytes were added."""
        with self._lock:
            self._used += size
