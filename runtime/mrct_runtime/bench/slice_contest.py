"""Whole slices by every engine in turn, as many rounds as there is time for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from mrct_runtime.bench.candidates import Candidate
from mrct_runtime.bench.contest import Tell
from mrct_runtime.bench.outcome import Outcome, Refusal
from mrct_runtime.child import Child
from mrct_runtime.errors import EngineError

_MAKER: Final = "mrct_runtime.bench.slices:SliceStand"
_GRACE: Final = 120.0


@dataclass(frozen=True)
class SlicePlan:
    """One slice: the sampler and its options, samples, rows at once; rounds and seconds of all together."""

    sampler: str
    options: Mapping[str, Any]
    evaluations: int
    """Network evaluations of a sample, at the most, by which the time is foretold."""
    mc: int = 10
    batch: int = 10
    rounds: int = 3
    """Without any no slice is measured."""
    seconds: float = 600.0


@dataclass(frozen=True)
class SliceRow:
    """Whole slices of one engine. `outside` is the share of the time that its network does not take."""

    candidate: str
    runs: int
    seconds: float
    outside: float
    batches: int
    evaluations: int
    batch: int
    copies_to_host: int
    open_seconds: float
    peak_rss: int
    device_memory: int | None
    pool: int | None
    rounds: tuple[float, ...]


def slice_contest(
    candidates: Sequence[Candidate],
    plan: SlicePlan,
    outcome: Outcome,
    environment: Mapping[str, str],
    tell: Tell,
    keep: Callable[[list[SliceRow]], None],
) -> list[SliceRow]:
    """A row of every engine that was measured before and has the time for a slice; refusals go to the outcome.

    The first slice of each is a warm-up where there is time for more than one.
    """
    deadline = time.monotonic() + plan.seconds
    found: dict[Candidate, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        children: dict[Candidate, Child] = {}
        for candidate in candidates:
            if expected := _too_long(candidate, plan, outcome):
                reason = f"a slice takes about {expected:.0f} s, {plan.seconds:.0f} s are left; give fewer --steps"
                outcome.refusals.append(Refusal(candidate.name, None, f"slice: {reason}"))
                continue
            argument = {
                **candidate.argument,
                "sampler": plan.sampler,
                "options": dict(plan.options),
                "mc": plan.mc,
                "batch": plan.batch,
            }
            children[candidate] = stack.enter_context(Child(_MAKER, argument, environment))
            found[candidate] = []
        for number in range(plan.rounds + 1):
            for candidate in list(found):
                left = deadline - time.monotonic()
                last = found[candidate][-1]["seconds"] if found[candidate] else 0.0
                if number and last > left:
                    continue
                tell(f"slice {number or 'to warm up'}: {candidate.name}")
                try:
                    told = children[candidate].ask("sample", max(left, 0) + _GRACE)
                except EngineError as error:
                    outcome.refusals.append(Refusal(candidate.name, None, f"slice: {error}"))
                    del found[candidate]
                else:
                    found[candidate].append(told)
            keep(_rows(found))
    return _rows(found)


def _too_long(candidate: Candidate, plan: SlicePlan, outcome: Outcome) -> float | None:
    """The seconds that a slice takes where that is more than there is; None where it fits or is not known."""
    rows = [row for row in outcome.rows if row.candidate == candidate.name]
    if not rows:
        return None
    fastest = min(row.p50 / row.batch for row in rows)
    expected = fastest * plan.mc * plan.evaluations
    return expected if expected > plan.seconds else None


def _rows(found: Mapping[Candidate, Sequence[Mapping[str, Any]]]) -> list[SliceRow]:
    rows = []
    for candidate, told in found.items():
        counted = told[1:] or told
        if not counted:
            continue
        outside = (1 - one["network_seconds"] / one["seconds"] for one in counted)
        last = counted[-1]
        kept = (
            *("batches", "evaluations", "batch", "copies_to_host", "open_seconds"),
            *("peak_rss", "device_memory", "pool"),
        )
        rows.append(
            SliceRow(
                candidate=candidate.name,
                runs=len(counted),
                seconds=statistics.median(one["seconds"] for one in counted),
                outside=statistics.median(outside),
                rounds=tuple(one["seconds"] for one in counted),
                **{name: last[name] for name in kept},
            )
        )
    return rows
