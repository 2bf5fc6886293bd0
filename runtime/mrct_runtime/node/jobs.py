"""A job: one set of instances of one study, in a folder whose name says which and whose parent says how far it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from mrct_runtime.atomic import write_atomically
from mrct_runtime.node.spool import JOB_STATES, RESULT, STUDY, Spool, write_json
from mrct_runtime.structured_text import from_json

RECORD: Final = "job.json"
SENT: Final = "sent"
_NAME = re.compile(r"[0-9]{12}-[0-9a-f]{32}-[0-9a-f]{32}")


@dataclass(frozen=True)
class JobRecord:
    """What has to outlive the process: times are seconds since 1970."""

    study_uid: str
    opened: float
    failures: int = 0
    """Of the step that the job is at."""
    not_before: float = 0.0
    """When that step may be tried again."""
    finished: float = 0.0
    reason: str = ""
    """Why it failed; may quote what the translation said."""

    @property
    def content(self) -> dict[str, Any]:
        """As it stands in the file."""
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """Serial number, study and instances of a job are its folder's name: SERIAL-STUDY-DIGEST."""

    folder: Path

    @property
    def name(self) -> str:
        """SERIAL-STUDY-DIGEST."""
        return self.folder.name

    @property
    def state(self) -> str:
        """The name of the state that its folder lies in."""
        return self.folder.parent.name

    @property
    def serial(self) -> int:
        """Later jobs have larger ones."""
        return int(self.name.split("-")[0])

    @property
    def study(self) -> str:
        """A digest of the StudyInstanceUID."""
        return self.name.split("-")[1]

    @property
    def digest(self) -> str:
        """That of the set of instances."""
        return self.name.split("-")[2]

    @property
    def instances(self) -> Path:
        """The folder of what was received."""
        return self.folder / STUDY

    @property
    def result(self) -> Path:
        """The folder that the translation makes; it is there when all of it is."""
        return self.folder / RESULT

    @property
    def record(self) -> JobRecord:
        """What its file holds; of a file that is damaged nothing, for no job may stand in the way of the others."""
        text = (self.folder / RECORD).read_bytes()
        try:
            return JobRecord(**from_json(text))
        except (ValueError, TypeError):
            return JobRecord(study_uid="unknown", opened=0.0)

    def rewrite(self, **changes: Any) -> JobRecord:
        """The record with these fields changed, on the disk when this returns."""
        record = replace(self.record, **changes)
        write_json(self.folder / RECORD, record.content)
        return record

    def moved(self, spool: Spool, state: str) -> Self:
        """The same job in another state."""
        return type(self)(spool.move(self.folder, state))

    def sent(self) -> frozenset[str]:
        """The files of the result that the destination has acknowledged, by their names in it."""
        try:
            text = (self.folder / SENT).read_text("utf-8")
        except FileNotFoundError:
            return frozenset()
        # a line without its end was cut by a crash: that file is sent once more
        return frozenset(line[:-1] for line in text.splitlines(keepends=True) if line[-1] == "\n")

    def note_sent(self, name: str) -> None:
        """Writes down that the destination has this file."""
        whole = "".join(f"{known}\n" for known in sorted(self.sent() | {name}))
        write_atomically(self.folder / SENT, whole.encode())


def jobs(spool: Spool, *states: str) -> Iterator[Job]:
    """The jobs in these states, in the order of the states and of their serial numbers; what has no job's name is none."""
    for state in states:
        yield from (
            Job(path) for path in sorted(spool[state].iterdir()) if _NAME.fullmatch(path.name)
        )


def next_serial(spool: Spool) -> int:
    """One more than that of any job there is."""
    return 1 + max((job.serial for job in jobs(spool, *JOB_STATES)), default=0)
