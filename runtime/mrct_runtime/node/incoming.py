"""Studies that are still arriving: every instance is on the disk before it is acknowledged.

A study is closed by one rename into the queue. What comes of it later makes a new job, of the earlier instances and the
new ones; instances that a job has already, byte for byte, make none.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from mrct_runtime.atomic import flush
from mrct_runtime.digests import file_sha256
from mrct_runtime.node.jobs import RECORD, Job, JobRecord, jobs, next_serial
from mrct_runtime.node.spool import (
    FAILED,
    INCOMING,
    JOB_STATES,
    QUEUED,
    STUDY,
    Spool,
    write_json,
)

Verdict: TypeAlias = Literal["stored", "known", "too many"]


@dataclass
class _Times:
    """Of a study that is arriving, by the monotonic clock."""

    opened: float
    latest: float


@dataclass(eq=False)
class Incoming:
    """The arriving studies of a spool; used by the threads of all associations.

    `received` counts the instances since the start, `last_received` is the time of the last one in seconds since 1970.
    """

    spool: Spool
    most_instances: int
    received: int = 0
    last_received: float | None = None
    _times: dict[str, _Times] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # a restart gives every open study a whole quiet time, for its sender may be about to go on
        now = time.monotonic()
        for folder in self.spool[INCOMING].iterdir():
            self._times[folder.name] = _Times(now, now)

    def __len__(self) -> int:
        return len(self._times)

    def take(self, received: Path, study_uid: str, instance_uid: str) -> Verdict:
        """Moves a received file into its study; on the disk when this returns."""
        flush(received)
        study = _key(study_uid)
        name = f"{_key(instance_uid)}.{_digest(received)}.dcm"
        with self._lock:
            folder = self.spool[INCOMING] / study
            instances = folder / STUDY
            if not (folder / RECORD).exists():
                self._open(folder, study_uid)
            known = (instances / name).exists()
            if not known:
                if len(os.listdir(instances)) >= self.most_instances:  # noqa: PTH208 - faster, for each instance
                    return "too many"
                received.replace(instances / name)
                self._drop_others(instances, name)
                flush(instances)
            self.received += 1
            self.last_received = time.time()
            now = time.monotonic()
            self._times.setdefault(study, _Times(now, now)).latest = now
        return "known" if known else "stored"

    def complete(self, quiet_s: float, max_age_s: float) -> list[str]:
        """The studies of which nothing has come for `quiet_s`, or which are `max_age_s` old."""
        now = time.monotonic()
        with self._lock:
            return [
                study
                for study, times in self._times.items()
                if now - times.latest >= quiet_s or now - times.opened >= max_age_s
            ]

    def close(self, study: str) -> Job | None:
        """The queued job of a study, None where a job has just these instances already."""
        with self._lock, self.spool.turn:
            self._times.pop(study, None)
            folder = self.spool[INCOMING] / study
            if not (folder / RECORD).exists() or not any((folder / STUDY).iterdir()):
                self.spool.discard(folder)
                return None
            earlier = [job for job in jobs(self.spool, *JOB_STATES) if job.study == study]
            self._add_earlier(folder / STUDY, earlier)
            digest = _set_digest(folder / STUDY)
            if any(job.digest == digest and job.state != FAILED for job in earlier):
                self.spool.discard(folder)
                return None
            name = f"{next_serial(self.spool):012d}-{study}-{digest}"
            return Job(self.spool.move(folder, QUEUED, name))

    def _open(self, folder: Path, study_uid: str) -> None:
        (folder / STUDY).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(folder / RECORD, JobRecord(study_uid=study_uid, opened=time.time()).content)
        flush(folder.parent)

    def _drop_others(self, instances: Path, name: str) -> None:
        """Of an instance that came again with other content the latest is kept."""
        for other in instances.glob(f"{name.partition('.')[0]}.*"):
            if other.name != name:
                other.unlink()

    def _add_earlier(self, instances: Path, earlier: list[Job]) -> None:
        """Links what earlier jobs of the study have and this one has not, newest first."""
        have = {path.name.partition(".")[0] for path in instances.iterdir()}
        for job in reversed(earlier):
            for path in _files(job.folder / STUDY):
                instance = path.name.partition(".")[0]
                if instance not in have:
                    os.link(path, instances / path.name)
                    have.add(instance)
        flush(instances)


def _files(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):  # a job that is being deleted
        yield from sorted(folder.iterdir())


def _key(uid: str) -> str:
    """A name for the UID that says nothing and cannot leave its folder."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    return file_sha256(path)[:32]


def _set_digest(instances: Path) -> str:
    names = sorted(path.name for path in instances.iterdir())
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
