"""What the node tells: one line an event, with UIDs, counts and AE titles; never patient data nor a library's words."""

from __future__ import annotations

import json
import re
import threading
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO, TypeAlias

Fact: TypeAlias = str | int | float
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+")


class Tell(Protocol):
    """Where events go."""

    def __call__(self, event: str, **facts: Fact) -> None: ...


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events as lines of text, or of JSON."""

    stream: TextIO
    as_json: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: str, **facts: Fact) -> None:
        """Writes the line at once; threads take turns."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self.as_json:
            line = json.dumps({"time": at, "event": event, **facts})
        else:
            line = " ".join(
                [at, event, *(f"{name}={_shown(fact)}" for name, fact in facts.items())]
            )
        with self._lock:
            self.stream.write(line + "\n")
            self.stream.flush()


def _shown(fact: Fact) -> str:
    """The fact; in quotes where it could be taken for more than one."""
    text = f"{fact:g}" if isinstance(fact, float) else str(fact)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def place_of(error: BaseException) -> str:
    """File and line where it was raised: an error's own words may quote patient data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
