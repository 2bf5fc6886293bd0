"""Alternating rounds: every candidate lives in a process of its own and has its turn in every round (A B C A B C ...)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from mrct_runtime.bench.candidates import Candidate
from mrct_runtime.bench.outcome import Outcome, Plan, Refusal, Row
from mrct_runtime.bench.timing import percentile
from mrct_runtime.child import Child
from mrct_runtime.errors import DeviceMemoryError, EngineError

_GRACE: Final = 60.0
"""Seconds that a turn may take beyond its share before its process is given up."""
_OPENING: Final = 300.0
"""Seconds in which a candidate has to be ready; engines are built in less."""
_PEAK_WARM_UP: Final = 1.0
_REST: Final = 0.05
"""Seconds between turns: the threads of the one before go on spinning for a moment."""


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
        for number in range(len(plan.batches)):
            _batch(open_, plan.batches[number:], plan, outcome, deadline, tell)
            for candidate, child in open_.items():
                _remember_memory(candidate, child, outcome)
            keep(outcome)
    _hungry_alone(candidates, plan, environment, outcome, deadline, tell)
    return outcome


def _share(batches: Sequence[int], deadline: float) -> float:
    """The seconds that the first of these batches may take, so that the others get theirs: time goes with images."""
    weights = [1 + batch for batch in batches]
    return max(deadline - time.monotonic(), 0) * weights[0] / sum(weights)


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
            _batch(open_, (batch,), plan, outcome, deadline, tell)
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
    batches: Sequence[int],
    plan: Plan,
    outcome: Outcome,
    deadline: float,
    tell: Tell,
) -> None:
    """Adds the rows of the first of these batches; a candidate whose process has ended is taken out of `open_`."""
    batch = batches[0]
    warm: dict[Candidate, dict[str, Any]] = {}
    times: dict[Candidate, list[list[float]]] = {}
    asked = _Asked(open_, batch, outcome, deadline)
    # at most a third of the batch's time, first runs aside, which may have to compile
    most = min(plan.warm_up_seconds, _share(batches, deadline) / 3 / max(len(open_), 1))
    for candidate in list(open_):
        seconds = min(most, _PEAK_WARM_UP) if candidate.kind == "peak" else most
        tell(f"batch {batch}: warming up {candidate.name}")
        # half of what is left, so that a compiler cannot take everything from the others
        patience = (deadline - time.monotonic()) / 2 + _GRACE / 6
        went = asked.of(candidate, "warm_up", seconds, patience)
        if went is not None:
            warm[candidate], times[candidate] = went, []
    until = time.monotonic() + _share(batches, deadline)
    for number in range(plan.rounds):
        for candidate in list(times):
            if number and time.monotonic() + warm[candidate]["last"] > until:
                continue
            time.sleep(_REST)
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
