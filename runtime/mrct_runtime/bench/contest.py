"""Alternating rounds: every candidate lives in a process of its own and has its turn in every round (A B C A B C ...)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mrct_runtime.bench.candidates import Candidate
from mrct_runtime.bench.timing import percentile
from mrct_runtime.child import Child
from mrct_runtime.errors import DeviceMemoryError, EngineError, UsageError

_GRACE: Final = 60.0
"""Seconds that a turn may take beyond its share before its process is given up."""
_OPENING: Final = 300.0
"""Seconds in which a candidate has to be ready; engines are built in less."""
_PEAK_WARM_UP: Final = 1.0


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


Tell = Callable[[str], None]


def contest(
    candidates: Sequence[Candidate],
    plan: Plan,
    environment: Mapping[str, str],
    tell: Tell,
    keep: Callable[[Outcome], None],
) -> Outcome:
    """The rows of every candidate on every batch that there was time for; `keep` is given what is known after each."""
    outcome, deadline = Outcome(), time.monotonic() + plan.seconds
    with ExitStack() as stack:
        open_ = _opened(candidates, environment, stack, outcome, deadline, tell)
        for batch in plan.batches:
            _batch(open_, batch, plan, outcome, deadline, tell)
            for candidate, child in open_.items():
                _remember_memory(candidate, child, outcome)
            keep(outcome)
    _hungry_alone(candidates, plan, environment, outcome, deadline, tell)
    return outcome


def _hungry_alone(
    candidates: Sequence[Candidate],
    plan: Plan,
    environment: Mapping[str, str],
    outcome: Outcome,
    deadline: float,
    tell: Tell,
) -> None:
    """Those that found too little memory, once more while nobody else holds any."""
    hungry, outcome.hungry = outcome.hungry, []
    for name, batch in hungry:
        (candidate,) = (each for each in candidates if each.name == name)
        before = len(outcome.rows)
        with ExitStack() as stack:
            open_ = _opened([candidate], environment, stack, outcome, deadline, tell)
            _batch(open_, batch, plan, outcome, deadline, tell)
            for child in open_.values():
                _remember_memory(candidate, child, outcome)
        outcome.rows[before:] = [replace(row, alone=True) for row in outcome.rows[before:]]


def _opened(
    candidates: Iterable[Candidate],
    environment: Mapping[str, str],
    stack: ExitStack,
    outcome: Outcome,
    deadline: float,
    tell: Tell,
) -> dict[Candidate, Child]:
    """Those whose stands stand; the facts of each are in the outcome."""
    children = {
        each: stack.enter_context(Child(each.maker, dict(each.argument), environment))
        for each in candidates
    }
    found = {}
    for candidate, child in children.items():
        tell(f"opening {candidate.name}")
        try:
            patience = min(_OPENING, max(deadline - time.monotonic(), _GRACE))
            facts = child.ask("facts", patience)
        except EngineError as error:
            child.close()
            outcome.refusals.append(Refusal(candidate.name, None, str(error)))
            tell(f"{candidate.name}: {error}")
        else:
            outcome.facts[candidate.name] = facts
            found[candidate] = child
    return found


def _batch(
    open_: dict[Candidate, Child],
    batch: int,
    plan: Plan,
    outcome: Outcome,
    deadline: float,
    tell: Tell,
) -> None:
    """Adds the rows of this batch; a candidate whose process has ended is taken out of `open_`."""
    warm: dict[Candidate, dict[str, Any]] = {}
    times: dict[Candidate, list[list[float]]] = {}
    asked = _Asked(open_, batch, outcome, deadline)
    for candidate in list(open_):
        peak = candidate.kind == "peak"
        seconds = min(plan.warm_up_seconds, _PEAK_WARM_UP) if peak else plan.warm_up_seconds
        tell(f"batch {batch}: warming up {candidate.name}")
        # half of what is left, so that a compiler cannot take everything from the others
        patience = (deadline - time.monotonic()) / 2 + _GRACE / 6
        went = asked.of(candidate, "warm_up", seconds, patience)
        if went is not None:
            warm[candidate], times[candidate] = went, []
    for number in range(plan.rounds):
        for candidate in list(times):
            if number and time.monotonic() + warm[candidate]["last"] > deadline:
                continue
            patience = deadline - time.monotonic() + _GRACE
            measured = asked.of(candidate, "measure", plan.turn_seconds, patience)
            if measured is None:
                del times[candidate]
            else:
                times[candidate].append(measured)
    for candidate, rounds in times.items():
        row = _row(candidate.name, batch, rounds, warm[candidate])
        outcome.rows.append(row)
        tell(f"batch {batch}: {candidate.name} {1e3 * row.p50:.3g} ms")


@dataclass(frozen=True)
class _Asked:
    """Questions about one batch to open candidates, until the deadline."""

    open_: dict[Candidate, Child]
    batch: int
    outcome: Outcome
    deadline: float

    def of(self, candidate: Candidate, method: str, seconds: float, patience: float) -> Any:
        """The answer; None where there is none, for the reason that the outcome then has."""
        if time.monotonic() >= self.deadline:
            self._refuse(candidate, "no time was left")
            return None
        child = self.open_[candidate]
        try:
            return child.ask(method, patience, batch=self.batch, seconds=seconds)
        except EngineError as error:
            self._refuse(candidate, str(error))
            if isinstance(error, DeviceMemoryError):
                self.outcome.hungry.append((candidate.name, self.batch))
            if not child.alive:
                del self.open_[candidate]
            return None

    def _refuse(self, candidate: Candidate, reason: str) -> None:
        self.outcome.refusals.append(Refusal(candidate.name, self.batch, reason))


def _row(name: str, batch: int, rounds: Sequence[Sequence[float]], warm: Mapping[str, Any]) -> Row:
    times = [seconds for one in rounds for seconds in one]
    return Row(
        candidate=name,
        batch=batch,
        runs=len(times),
        first=warm["first"],
        warm_up_runs=warm["runs"],
        settled=warm["settled"],
        p50=statistics.median(times),
        p95=percentile(times, 95),
        p99=percentile(times, 99),
        medians=tuple(statistics.median(one) for one in rounds),
    )


def _remember_memory(candidate: Candidate, child: Child, outcome: Outcome) -> None:
    try:
        outcome.memory[candidate.name] = child.ask("memory", _GRACE)
    except EngineError:
        return  # the refusal of its last turn says why


def paired(reference: Row, other: Row) -> float:
    """The median over rounds of the reference's time over the other's: how many times faster the other is."""
    pairs = zip(reference.medians, other.medians, strict=False)
    return statistics.median(a / b for a, b in pairs)
