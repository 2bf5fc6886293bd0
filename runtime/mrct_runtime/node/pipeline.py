"""The way of jobs through the spool: what is claimed, how it ends, what a restart finds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mrct_runtime.node.configuration import Retries
from mrct_runtime.node.event_log import Tell
from mrct_runtime.node.jobs import Job, jobs
from mrct_runtime.node.spool import (
    DONE,
    FAILED,
    QUEUED,
    RESULT,
    RUNNING,
    SENDING,
    Spool,
)

Ending: TypeAlias = Literal["done", "retry", "refused", "stopped"]
"""Of a step: it is done; it may go better next time; it never will; it was interrupted and does not count."""

_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class Outcome:
    """How a step of a job ended, and why; `told` may stand in a log, `reason` only beside the job."""

    ending: Ending
    told: str = ""
    reason: str = ""


Step: TypeAlias = Callable[[Job], Outcome]


@dataclass(frozen=True)
class Pipeline:
    """Moves jobs; what a translation or a transfer does is not its business."""

    spool: Spool
    tell: Tell

    def recover(self) -> None:
        """Puts what a crash left running where it belongs: a result that is there is never made again."""
        for job in list(jobs(self.spool, RUNNING)):
            self.tell("recovered", study=job.record.study_uid, result=int(job.result.is_dir()))
            self._leave_running(job)

    def translate_next(self, step: Step, retries: Retries) -> bool:
        """Lets `step` make the result of the first queued job that is due; False where none is.

        Nothing else translates: what is found running was left so by a crash or an error.
        """
        self.recover()
        job = self._due(QUEUED)
        if job is None:
            return False
        job = job.moved(self.spool, RUNNING)
        self.tell("translating", study=job.record.study_uid, job=job.serial)
        outcome = step(job)
        if job.result.is_dir():  # it is there, so it is whole, however the child ended
            outcome = Outcome("done")
        self._report(job, "translated", outcome)
        if outcome.ending in {"retry", "refused"}:
            self._count(job, outcome, retries)
        self._leave_running(job, given_up=self._given_up(job, outcome, retries))
        return True

    def send_next(self, step: Step, retries: Retries) -> bool:
        """Lets `step` send the first result that is due; False where none is."""
        job = self._due(SENDING)
        if job is None:
            return False
        outcome = step(job)
        self._report(job, "sent", outcome)
        if outcome.ending == "done":
            job.rewrite(failures=0, finished=time.time(), reason="")
            job.moved(self.spool, DONE)
        elif outcome.ending in {"retry", "refused"}:
            self._count(job, outcome, retries)
            if self._given_up(job, outcome, retries):
                self._fail(job)
        return True

    def forget(self, keep_days: float) -> None:
        """Deletes the jobs that were done so long ago."""
        before = time.time() - keep_days * _DAY_S
        for job in list(jobs(self.spool, DONE)):
            record = job.record
            if record.finished <= before:
                self.spool.discard(job.folder)
                self.tell("deleted", study=record.study_uid, job=job.serial)

    def _due(self, state: str) -> Job | None:
        """The first job of a state that may be tried now; older jobs of a study with a newer one are dropped."""
        with self.spool.turn:
            waiting = list(jobs(self.spool, state))
            latest = {job.study: job.serial for job in waiting}
            for job in waiting:
                if state == QUEUED and job.serial < latest[job.study]:
                    self.tell("superseded", study=job.record.study_uid, job=job.serial)
                    self.spool.discard(job.folder)
                elif job.record.not_before <= time.time():
                    return job
        return None

    def _leave_running(self, job: Job, *, given_up: bool = False) -> None:
        if job.result.is_dir():
            for left in job.folder.glob(
                f".{RESULT}.*"
            ):  # by a child that was killed after its last step
                shutil.rmtree(left, ignore_errors=True)
            job.rewrite(failures=0, not_before=0.0, reason="")
            job.moved(self.spool, SENDING)
        elif given_up:
            self._fail(job)
        else:  # with the slices that are finished: the next child goes on from there
            job.moved(self.spool, QUEUED)

    def _fail(self, job: Job) -> None:
        """Puts a job aside as one that may be put back by hand: its failures do not count any more."""
        failures = job.record.failures
        record = job.rewrite(failures=0, not_before=0.0, finished=time.time())
        job.moved(self.spool, FAILED)
        self.tell("failed", study=record.study_uid, job=job.serial, failures=failures)

    def _count(self, job: Job, outcome: Outcome, retries: Retries) -> None:
        failures = job.record.failures + 1
        not_before = time.time() + retries.wait_s(failures)
        job.rewrite(failures=failures, not_before=not_before, reason=outcome.reason or outcome.told)

    def _given_up(self, job: Job, outcome: Outcome, retries: Retries) -> bool:
        if outcome.ending == "refused":
            return True
        return outcome.ending == "retry" and job.record.failures >= retries.attempts

    def _report(self, job: Job, event: str, outcome: Outcome) -> None:
        facts = {"told": outcome.told} if outcome.told else {}
        uid = job.record.study_uid
        self.tell(event, study=uid, job=job.serial, ending=outcome.ending, **facts)
