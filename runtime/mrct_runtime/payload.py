"""An answer of a child process with bytes, which JSON has no form for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Payload:
    """A value as JSON has it, and the bytes behind it."""

    value: Any
    content: memoryview
