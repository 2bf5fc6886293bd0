"""Studies given to workers that may die: each is finished, failed, or given again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

from mrct_runtime.errors import EngineError, MrctError
from mrct_runtime.many.outcome import Outcome
from mrct_runtime.many.studies import Study

MOST_DEATHS: Final = 5
"""A study whose worker has died so often is given up; so is a crew whose workers die so often before their first study."""


class Word(Enum):
    """What a worker says that is no outcome."""

    READY = "it can be given a study"
    DIED = (
        "it is gone, and what it had is free; another takes its place, and says so when it is ready"
    )


Answer: TypeAlias = Outcome | Literal[Word.READY, Word.DIED]


class Crew(Protocol):
    """Workers by their numbers, which each do one study at a time."""

    def give(self, worker: int, study: Study) -> None:
        """Gives the study to a worker that is ready, or has answered with an outcome."""

    def wait(self) -> tuple[int, Answer]:
        """The next worker that says something, and what."""
        ...


def supervise(
    crew: Crew, studies: Iterable[Study], heard: Callable[[Study, Outcome], None]
) -> None:
    """Has every study done by the crew; `heard` is told each one's outcome as it comes."""
    queue, busy, idle = deque(studies), dict[int, Study](), list[int]()
    deaths, stillborn = Counter[str](), 0
    while queue or busy:
        worker, answer = crew.wait()
        study = busy.pop(worker, None)
        if answer is not Word.DIED:
            idle.append(worker)
            if study is not None and isinstance(answer, Outcome):
                heard(study, answer)
        elif study is None:
            idle = [each for each in idle if each != worker]
            stillborn += 1
            if stillborn >= MOST_DEATHS:
                raise EngineError(
                    f"{stillborn} workers died before they were given a study; look at Ray's logs of their machines"
                )
        else:
            deaths[study.id] += 1
            if deaths[study.id] < MOST_DEATHS:
                queue.appendleft(study)
            else:
                heard(study, _given_up(study))
        while queue and idle:
            taken = idle.pop()
            busy[taken] = queue.popleft()
            crew.give(taken, busy[taken])


def _given_up(study: Study) -> Outcome:
    reason = f"{MOST_DEATHS} workers died in the middle of this study; --retry tries again"
    return Outcome(
        id=study.id, code=MrctError.exit_code, reason=reason, attempts=MOST_DEATHS, seconds=0
    )
