"""What is asked of a measurement, and what it finds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from mrct_runtime.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """How long everything is measured: batches, rounds, seconds of a turn, of a warm-up, and of all together."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 10, 16)
    rounds: int = 9
    turn_seconds: float = 1.0
    warm_up_seconds: float = 10.0
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise UsageError(f"batches must be different numbers from 1, got {list(self.batches)}")
        for name in ("rounds", "turn_seconds", "warm_up_seconds", "seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Row:
    """The times of one candidate on one batch, in seconds; p95 and p99 None where the runs are too few to tell them.

    `medians` has that of each round.
    """

    candidate: str
    batch: int
    runs: int
    first: float
    """The first run of the warm-up, with whatever is compiled or searched in it."""
    warm_up_runs: int
    settled: bool
    p50: float
    p95: float | None
    p99: float | None
    medians: tuple[float, ...]
    alone: bool = False
    """True where there was not memory enough for all at once, so that its rounds are nobody else's."""


@dataclass(frozen=True)
class Refusal:
    """A candidate that could not be measured, on a batch or at all, and the reason in one line."""

    candidate: str
    batch: int | None
    reason: str


@dataclass
class Outcome:
    """What is known so far."""

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    memory: dict[str, dict[str, int | None]] = field(default_factory=dict)
    hungry: list[tuple[str, int]] = field(default_factory=list)
    """Candidates and batches for which the device had too little memory while all held some."""


def paired(reference: Row, other: Row) -> float:
    """The median over rounds of the reference's time over the other's: how many times faster the other is."""
    pairs = zip(reference.medians, other.medians, strict=False)
    return statistics.median(a / b for a, b in pairs)
