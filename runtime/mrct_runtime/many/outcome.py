"""What became of studies, as files keep it: no name, no path, no word of a patient."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

StudyId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Verdict: TypeAlias = Literal["PASSED", "PARTIAL", "FAILED"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Outcome(_Frozen):
    """A study that is finished (code 0), or failed with an exit code and a reason.

    `attempts` are those of this run, 0 where an earlier one had settled it. `engine` is what computed it.
    """

    id: StudyId
    code: int = Field(ge=0, le=255)
    reason: str = ""
    attempts: int = Field(ge=0)
    seconds: float = Field(ge=0)
    engine: dict[str, Any] | None = None
    warnings: tuple[str, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _told_why(self) -> Self:
        if bool(self.code) != bool(self.reason):
            raise ValueError("a failure has a reason, and nothing else has one")
        return self

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return self.code == 0


class Failure(_Frozen):
    """A study that is left alone as long as it and what is asked of it are as they were."""

    outcome: Outcome
    choice: Digest
    input: Digest


class Summary(_Frozen):
    """What a shard has done so far; `everything` are the studies of all shards, `mine` those of this one."""

    schema_version: Literal[1] = 1
    index: int = Field(ge=1)
    count: int = Field(ge=1)
    written: str = Field(default_factory=lambda: datetime.now(UTC).isoformat())
    choice: dict[str, Any]
    choice_sha256: Digest
    versions: dict[str, str]
    everything: tuple[StudyId, ...] = Field(strict=False)
    mine: tuple[StudyId, ...] = Field(strict=False)
    outcomes: tuple[Outcome, ...] = Field(strict=False)

    @property
    def finished(self) -> int:
        """Studies whose result is there."""
        return sum(outcome.finished for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        """Studies that were tried and have none."""
        return len(self.outcomes) - self.finished

    @property
    def left(self) -> int:
        """Studies that are still to be tried."""
        return len(self.mine) - len(self.outcomes)

    def __str__(self) -> str:
        return verdict_line(self.finished, self.failed, self.left, "left")


def verdict(finished: int, failed: int, left: int) -> Verdict:
    """PASSED where all are finished, FAILED where none is, PARTIAL otherwise."""
    if not failed and not left:
        return "PASSED"
    return "PARTIAL" if finished else "FAILED"


def verdict_line(finished: int, failed: int, left: int, word: str) -> str:
    """The verdict and the counts; `word` says what those that were not tried are."""
    rest = [f"{failed} failed"] if failed else []
    rest += [f"{left} {word}"] if left else []
    told = f"{finished} of {finished + failed + left} studies finished"
    return ", ".join([f"{verdict(finished, failed, left)} {told}", *rest])
