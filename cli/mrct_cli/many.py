"""Many studies by one command: by this process, or by workers of Ray."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrct_cli.many_flags import Many
from mrct_cli.progress import Watch, progress_on_stderr
from mrct_cli.telling import silence, to_stderr
from mrct_cli.verdict import ending
from mrct_runtime.errors import StudiesFailedError, UsageError

if TYPE_CHECKING:
    from mrct_runtime.filling import Order
    from mrct_runtime.job import Job
    from mrct_runtime.many.batch import Batch
    from mrct_runtime.many.outcome import Outcome
    from mrct_runtime.many.studies import Study


def translate_many(
    order: Order, studies: Path, outs: Path, asked: Many, *, overwrite: bool, quiet: bool
) -> None:
    """Translates the studies of a shard; the last line has the verdict, also where it is stopped.

    StudiesFailedError where a study has no result.
    """
    from mrct_runtime.many.batch import Batch
    from mrct_runtime.many.ledger import Ledger
    from mrct_runtime.many.studies import find_studies

    order.settings.check(order.bundle)
    refuse_inside(outs, studies)
    # before the folder is made, that a wrong name leaves nothing
    find_studies(studies, b"")
    ledger = Ledger.claim(outs)
    found = find_studies(studies, ledger.key)
    batch = Batch(order, ledger, outs, found, asked.shard, overwrite=overwrite, retry=asked.retry)
    batch.begin()
    ending().so_far = lambda: str(batch.summary)
    teller = _Teller(quiet, batch)
    if asked.ray is None:
        _one_after_the_other(batch, order, outs, teller, overwrite=overwrite)
    else:
        _by_ray(batch, order, outs, teller, asked, overwrite=overwrite)
    if failed := batch.summary.failed:
        raise StudiesFailedError(
            f"{failed} of {len(batch.mine)} studies have no result; `mrct merge {outs}` says why"
        )


def _one_after_the_other(
    batch: Batch, order: Order, outs: Path, teller: _Teller, *, overwrite: bool
) -> None:
    from mrct_runtime.many.translator import Translator

    audience = teller.audience
    translator = Translator(order, outs, audience, teller.tell, overwrite=overwrite)
    with closing(translator) as translate:
        for study in batch.mine:
            teller.heard(study, batch.settled(study) or translate(study))


def _by_ray(
    batch: Batch, order: Order, outs: Path, teller: _Teller, asked: Many, *, overwrite: bool
) -> None:
    from mrct_runtime.many.ray_crew import ray_crew
    from mrct_runtime.many.ray_worker import Task
    from mrct_runtime.many.supervisor import supervise

    left = []
    for study in batch.mine:
        if settled := batch.settled(study):
            teller.heard(study, settled)
        else:
            left.append(study)
    if not left or asked.ray is None:
        return
    bundle = order.bundle
    task = Task(
        bundle.path.resolve(),
        bundle.sha256,
        order.settings,
        order.series,
        order.command,
        order.outputs,
        outs.resolve(),
        overwrite,
    )
    with ray_crew(asked.ray, asked.workers, task) as crew:
        supervise(crew, left, teller.heard)


def refuse_inside(outs: Path, studies: Path) -> None:
    """UsageError where results would be among the studies, and studies themselves the next time."""
    place, source = outs.resolve(), studies.resolve()
    if place == source or source in place.parents:
        raise UsageError(f"OUT {outs} is the folder of studies or lies in it; name another folder")


@dataclass(frozen=True)
class _Teller:
    """Tells of each study by its id: names may be patients'."""

    quiet: bool
    batch: Batch

    @property
    def tell(self) -> Callable[[str], None]:
        return silence if self.quiet else to_stderr

    def audience(self, study: Study) -> _StudyTeller:
        return _StudyTeller(self, study)

    def heard(self, study: Study, outcome: Outcome) -> None:
        """Takes the outcome in, and tells it."""
        self.batch.record(study, outcome)
        summary = self.batch.summary
        place = f"[{len(summary.outcomes)}/{len(summary.mine)}] {study.id}"
        if not outcome.finished:
            to_stderr(f"mrct: error: {place}: {outcome.reason} (exit code {outcome.code})")
        elif outcome.attempts:
            self.tell(f"{place}: finished in {outcome.seconds:.1f} s")
        else:
            self.tell(f"{place}: finished by an earlier run")
        # those of a result that an earlier run made were told by it
        for warning in outcome.warnings if outcome.attempts else ():
            to_stderr(f"mrct: warning: {place}: {warning}")


@dataclass(frozen=True)
class _StudyTeller:
    teller: _Teller
    study: Study

    def planned(self, job: Job) -> None:
        slices = len(job.condition.array)
        self.teller.tell(f"{self.study.id}: {slices} slices, {job.evaluations} network evaluations")

    def resumed(self, slices: int) -> None:
        self.teller.tell(
            f"{self.study.id}: going on after {slices} slices that an earlier run has finished"
        )

    def watching(self, job: Job) -> AbstractContextManager[Watch]:
        return progress_on_stderr(job, quiet=self.teller.quiet)
