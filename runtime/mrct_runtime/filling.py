"""From a study to the files of its result, in a folder that has been claimed for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mrct_runtime.arrays import Array, Time
from mrct_runtime.bundle import Bundle
from mrct_runtime.dicom.reference import read_reference
from mrct_runtime.engines import Engine
from mrct_runtime.job import Job
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.outputs import Outputs
from mrct_runtime.replaying import Replay
from mrct_runtime.result import Result
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Progress
from mrct_runtime.translate import prepare


class Watch(Protocol):
    """Who is told how far a run is."""

    def batch_finished(self, progress: Progress) -> None:
        """A batch is sampled."""

    def evaluated(self, x: Array, t: Time) -> None:
        """One more evaluation of a batch [B, 1, H, W] has begun."""


class Audience(Protocol):
    """Who is told of a study's translation."""

    def planned(self, job: Job) -> None:
        """The study is read."""

    def resumed(self, slices: int) -> None:
        """An earlier run has finished so many."""

    def watching(self, job: Job) -> AbstractContextManager[Watch]:
        """The watch of the sampling, which lasts as long as the block."""
        ...


@dataclass(frozen=True, eq=False)
class Order:
    """What is asked of every study; `command` is what its run.json says of it."""

    bundle: Bundle
    settings: Settings
    series: str | None = None
    command: tuple[str, ...] = ()
    outputs: Outputs = field(default_factory=Outputs)
    reference: Path | None = None
    """The true CT, of one study."""
    replay: Replay | None = None
    """The run whose voxels must come out again."""

    def fill(
        self,
        folder: OutputFolder,
        study: Path,
        opened: Callable[[], AbstractContextManager[Engine]],
        audience: Audience,
    ) -> Result:
        """The result of the study, whose files are written but not yet committed.

        It goes on where an earlier run of the very same has left off. `opened` is asked when the study has been read.
        """
        job = prepare(self.bundle, study, self.settings, series=self.series, scratch=folder.scratch)
        if self.replay is not None:
            self.replay.check_input(job.source)
        truth = None if self.reference is None else read_reference(self.reference, job.source)
        self.outputs.check(job.source)
        folder.require(
            self.outputs.bytes_needed(job.source.volume.grid)
            + self.outputs.bytes_meanwhile(job.source.volume.grid, folder.scratch)
            + job.journal_bytes
            + job.result_bytes
        )
        audience.planned(job)
        with opened() as engine, job.journal(folder.journal, engine) as journal:
            if journal.past.finished:
                audience.resumed(len(journal.past.finished))
            with audience.watching(job) as watch:
                result = job.run(engine, watch.batch_finished, watch.evaluated, journal)
        result = result.doubting(truth)
        if self.replay is not None:
            self.replay.check_voxels(result)
        result.write(folder, self.command, self.outputs, truth)
        return result
