"""A shard of studies: which of them are settled, and what became of each, on the disk as soon as it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mrct_runtime.errors import EngineError, InputRejectedError, OutputError
from mrct_runtime.filling import Order
from mrct_runtime.many.choice import Choice
from mrct_runtime.many.ledger import Ledger
from mrct_runtime.many.outcome import Failure, Outcome, Summary
from mrct_runtime.many.shard import Shard
from mrct_runtime.many.studies import Study
from mrct_runtime.report import RUN, versions
from mrct_runtime.verification import load_run

PASSING: Final = frozenset({OutputError.exit_code, EngineError.exit_code})
"""Exit codes that tell of the machine and not of the study: a next run tries again, while it leaves others alone."""


class Batch:
    """The studies of `shard` among all `studies`, whose results lie in `outs`."""

    def __init__(
        self,
        order: Order,
        ledger: Ledger,
        outs: Path,
        studies: list[Study],
        shard: Shard,
        *,
        overwrite: bool = False,
        retry: bool = False,
    ) -> None:
        self.mine, self.shard = shard.of(studies), shard
        self._everything = tuple(study.id for study in studies)
        self._choice = Choice.of(order)
        self._ledger, self._outs = ledger, outs
        self._overwrite, self._retry = overwrite, retry
        self._outcomes: dict[str, Outcome] = {}

    @property
    def summary(self) -> Summary:
        """What is done so far."""
        return Summary(
            index=self.shard.index,
            count=self.shard.count,
            choice=dict(self._choice.facts),
            choice_sha256=self._choice.digest,
            versions=versions(),
            everything=self._everything,
            mine=tuple(study.id for study in self.mine),
            outcomes=tuple(self._outcomes.values()),
        )

    def begin(self) -> None:
        """Writes down that the shard has begun."""
        self._ledger.write(self.summary)

    def settled(self, study: Study) -> Outcome | None:
        """What an earlier run made of the study, where it is not to be translated now."""
        found = self._of_result(study)
        if found is None and not self._retry:
            found = self._of_failure(study)
        return found

    def record(self, study: Study, outcome: Outcome) -> None:
        """Takes the outcome in."""
        self._outcomes[study.id] = outcome
        if outcome.finished:
            self._ledger.forgive(study.id)
        elif outcome.attempts and outcome.code not in PASSING:
            fingerprint = self._ledger.fingerprint(study.path)
            self._ledger.quarantine(
                Failure(outcome=outcome, choice=self._choice.digest, input=fingerprint)
            )
        self._ledger.write(self.summary)

    def _of_result(self, study: Study) -> Outcome | None:
        """That of a result in the study's place: of the same bundle and settings it is this one's, another is in the way."""
        place = self._outs / study.name
        if not (place / RUN).is_file():
            return None
        try:
            run = load_run(place)
            whole = all((place / name).is_file() for name in run["outputs"])
            other = "; ".join(self._choice.differences(run)) if whole else "files are missing"
        except (InputRejectedError, KeyError, TypeError, AttributeError):
            run, other = {}, f"its {RUN} is damaged"
        if not other:
            return _known(study, engine=run["engine"], warnings=tuple(run["warnings"]))
        if self._overwrite:
            return None
        reason = f"another result is in its place ({other}); --overwrite replaces it"
        return _known(study, code=OutputError.exit_code, reason=reason)

    def _of_failure(self, study: Study) -> Outcome | None:
        failure = self._ledger.failure(study.id)
        if failure is None or failure.choice != self._choice.digest:
            return None
        if failure.input != self._ledger.fingerprint(study.path):
            return None
        return failure.outcome.model_copy(update={"attempts": 0})


def _known(study: Study, **what: Any) -> Outcome:
    return Outcome(id=study.id, attempts=0, seconds=0, **{"code": 0, **what})
