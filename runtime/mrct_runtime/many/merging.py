"""What all shards together have made of the studies, by their summaries and by the results that are really there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrct_runtime.errors import InputRejectedError, NoInputError
from mrct_runtime.many.choice import Choice
from mrct_runtime.many.ledger import Ledger
from mrct_runtime.many.outcome import Outcome, Summary, Verdict, verdict, verdict_line
from mrct_runtime.many.studies import find_studies, keyed_id
from mrct_runtime.report import RUN
from mrct_runtime.verification import load_run

_ENGINE: Final = ("engine", "precision")


@dataclass(frozen=True)
class Merged:
    """Each study's outcome, None where it is missing; `names` are those of studies that were looked up.

    `absent` are the shards, of `count`, that have not begun.
    """

    count: int
    absent: tuple[int, ...]
    choice: dict[str, Any]
    outcomes: dict[str, Outcome | None]
    names: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Studies that are finished, failed, and missing."""
        known = [outcome for outcome in self.outcomes.values() if outcome is not None]
        finished = sum(outcome.finished for outcome in known)
        return finished, len(known) - finished, len(self.outcomes) - len(known)

    @property
    def verdict(self) -> Verdict:
        """Of all of them."""
        return verdict(*self.counts)

    def __str__(self) -> str:
        return verdict_line(*self.counts, "missing")


def merge(outs: Path, studies: Path | None = None) -> Merged:
    """The shards of the last run in `outs`; with the folder of studies also their names, and those that no shard knew.

    NoInputError where there are none, InputRejectedError where shards differ in bundle or settings.
    """
    ledger = Ledger.of(outs)
    found = ledger.summaries()
    if not found:
        raise NoInputError("no shard has begun there; run mrct-infer --all")
    summaries = [summary for summary in found if summary.count == found[0].count]
    choice = _agreed(summaries)
    names = {} if studies is None else {s.id: s.name for s in find_studies(studies, ledger.key)}
    everything = [each for summary in summaries for each in summary.everything]
    outcomes = {each: _told(summaries, each) for each in [*everything, *names]}
    there = set(_results(outs, ledger, choice))
    for each, outcome in outcomes.items():
        if each not in there and outcome is not None and outcome.finished:
            outcomes[each] = None
        elif each in there and (outcome is None or not outcome.finished):
            outcomes[each] = Outcome(id=each, code=0, attempts=0, seconds=0)
    count, begun = found[0].count, {summary.index for summary in summaries}
    return Merged(
        count=count,
        absent=tuple(sorted(set(range(1, count + 1)) - begun)),
        choice=dict(choice.facts),
        outcomes=outcomes,
        names=names,
        warnings=tuple(_warnings(summaries, outcomes.values())),
    )


def _agreed(summaries: list[Summary]) -> Choice:
    """The choice that all have; InputRejectedError where one has another."""
    first = summaries[0]
    for other in summaries[1:]:
        if other.choice_sha256 != first.choice_sha256:
            parts = [name for name in first.choice if other.choice.get(name) != first.choice[name]]
            raise InputRejectedError(
                f"shards {first.index}/{first.count} and {other.index}/{other.count} differ in {', '.join(parts)}: "
                "their results are not of one kind; run one of them again with --overwrite"
            )
    return Choice(first.choice)


def _told(summaries: list[Summary], study: str) -> Outcome | None:
    """The newest outcome of the study, one that is finished before all others."""
    outcomes = [o for summary in summaries for o in summary.outcomes if o.id == study]
    return next((o for o in outcomes if o.finished), outcomes[0] if outcomes else None)


def _results(outs: Path, ledger: Ledger, choice: Choice) -> Iterator[str]:
    """The ids of the sound results of this choice."""
    for place in outs.iterdir():
        if place.name.startswith(".") or not (place / RUN).is_file():
            continue
        try:
            run = load_run(place)
            sound = not choice.differences(run) and all(
                (place / n).is_file() for n in run["outputs"]
            )
        except (InputRejectedError, KeyError, TypeError, AttributeError):
            continue
        if sound:
            yield keyed_id(place.name, ledger.key)


def _warnings(summaries: list[Summary], outcomes: Iterable[Outcome | None]) -> Iterator[str]:
    if len({frozenset(summary.everything) for summary in summaries}) > 1:
        yield "shards saw different studies: some were added or taken away meanwhile"
    for name in sorted({name for summary in summaries for name in summary.versions}):
        found = sorted({summary.versions.get(name, "none") for summary in summaries})
        if len(found) > 1:
            yield f"shards had different versions of {name}: {', '.join(found)}; values may differ in their last bits"
    engines = {
        " ".join(str(outcome.engine.get(part)) for part in _ENGINE)
        for outcome in outcomes
        if outcome is not None and outcome.engine is not None
    }
    if len(engines) > 1:
        yield f"studies were computed by different engines: {', '.join(sorted(engines))}; --backend and --precision name one"
